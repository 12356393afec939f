//! Credential records from registrars.

use std::sync::Arc;

use tally_proto::ids::Digest;
use tally_proto::order::EffectiveElection;
use tally_proto::pki::PeerRole;
use tally_proto::reason::Reason;
use tally_proto::receipt::Receipt;
use tally_proto::record::{Issue, RecordError, RecordSubmission};
use tally_proto::refusal::Refusal;
use tally_proto::wire;

use super::ballots::share_refused;
use super::pool::Lane;
use super::stored_receipt;
use super::writer::Checked;
use crate::elections::Election;
use crate::party::Party;
use crate::store::accepted::Counted;
use crate::store::serials::Serial;
use crate::store::{Kind, StoreError, elections as rows};

pub(super) fn record_refused(error: RecordError) -> Refusal {
    Refusal::new(error.reason(), error)
}

impl Party {
    /// Takes a record from the registrar of that name and answers with the receipt, after the record is on disk.
    ///
    /// # Errors
    /// The digest (empty when there is none) and why it was refused.
    pub async fn register(
        self: &Arc<Self>,
        record: wire::RecordSubmission,
        registrar: &str,
    ) -> Result<Receipt, (Vec<u8>, Refusal)> {
        let submission =
            RecordSubmission::from_wire(record).map_err(|error| (Vec::new(), record_refused(error)))?;
        let digest = submission.digest();
        self.register_checked(submission, registrar)
            .await
            .map_err(|refusal| (digest.0.to_vec(), refusal))
    }

    async fn register_checked(
        self: &Arc<Self>,
        submission: RecordSubmission,
        registrar: &str,
    ) -> Result<Receipt, Refusal> {
        let (digest, header) = (submission.digest(), submission.header().clone());
        let id = header
            .issue()
            .ok_or_else(|| record_refused(RecordError::OtherSource { card: true }))?
            .election
            .clone();
        let election = self.elections.get(id.as_str())?.in_force()?;
        let issue = header
            .check_place(election.manifest())
            .map_err(record_refused)?
            .clone();
        let named = election
            .manifest()
            .registrars()
            .iter()
            .find(|of| of.signing_key() == issue.registrar);
        if named.is_none_or(|of| of.name() != registrar) {
            return Err(Refusal::new(
                Reason::RoleRefused,
                format_args!("registrar {registrar} brings a record that another registrar signed"),
            ));
        }
        let stored = self.stored(Kind::Record, &election, issue.of_box.get(), digest)?;
        if stored.is_none() {
            self.may_accept(&election)?;
            check_serial(election.effective(), &issue, header.serial)?;
            self.check_roll(&election, &issue)?;
            let binding = election.binding(self.role);
            let until = binding.map(|under| under.records_until(issue.of_box)).min();
            let until = until.unwrap_or_default();
            let now = self.now();
            if now.seconds() > until {
                return Err(Refusal::new(
                    Reason::BoxPhase,
                    format_args!(
                        "records are taken until {until}, this party's clock shows {}",
                        now.seconds()
                    ),
                ));
            }
        }
        let party = Arc::clone(self);
        let place = (issue.election.clone(), issue.of_box);
        let lane = Lane::Named(PeerRole::Registrar(registrar.to_owned()));
        let checked = self
            .intake
            .checks
            .run(lane, move || {
                party.check_record_now(&election, &issue, submission)
            })
            .await?;
        match (stored, checked) {
            (Some(stored), Ok(_)) => Ok(stored_receipt(self.role, &place.0, place.1, digest, &stored)?),
            (Some(_), Err(refusal)) => Err(Refusal::new(Reason::BallotKnownOtherContent, refusal.detail)),
            (None, checked) => self.intake.writer.accept(checked?).await,
        }
    }

    /// The roll must know the voter as one who votes online.
    fn check_roll(&self, election: &Election, issue: &Issue) -> Result<(), Refusal> {
        let (of_box, voter) = (issue.of_box, issue.voter);
        let entry = self
            .store
            .read(|tx| rows::roll_entry(tx, election.number(), of_box.get(), voter.get()))?
            .ok_or(StoreError::Corrupt { table: "rolls" })?;
        match entry {
            (true, _) => Ok(()),
            (false, _) => Err(Refusal::new(
                Reason::VoterStationOnly,
                format_args!("the roll says that voter {voter} of box {of_box} does not vote online"),
            )),
        }
    }

    fn check_record_now(
        &self,
        election: &Election,
        issue: &Issue,
        submission: RecordSubmission,
    ) -> Result<Checked, Refusal> {
        let (header, digest) = (submission.header(), submission.digest());
        let signature = submission
            .registrar_signature()
            .ok_or_else(|| record_refused(RecordError::OtherSource { card: true }))?;
        header
            .check_authorisation(&digest, signature)
            .map_err(record_refused)?;
        let shares = header
            .context()
            .open(
                self.role,
                &self.opening,
                &digest,
                &header.commitments,
                submission.ciphertext(),
            )
            .map_err(share_refused)?;
        Ok(Checked {
            number: election.number(),
            election: issue.election.clone(),
            of_box: issue.of_box,
            digest,
            counted: Counted::Record,
            capacity: election.ballot_box(issue.of_box)?.capacity(),
            sequence: None,
            cast_at: None,
            serial: Some(serial(issue, header.serial)),
            header: header.encode(),
            ticket: None,
            register: None,
            paced: false,
            authority_signature: signature.0.to_vec(),
            ciphertext_hash: submission.ciphertext_hash(),
            received_at: self.now().seconds(),
            sealed_shares: self.seal_record(digest, &shares.to_bytes()),
        })
    }

    pub(super) fn seal_record(&self, digest: Digest, shares: &[u8]) -> Vec<u8> {
        self.vault
            .seal(Kind::Record, self.role.index(), digest.as_bytes(), shares)
    }
}

/// A registrar replaces no credential on its own: a serial above the first needs an order in force here.
fn check_serial(effective: &EffectiveElection, issue: &Issue, serial: u32) -> Result<(), Refusal> {
    let (of_box, voter) = (issue.of_box, issue.voter);
    if effective.allows_serial(of_box, voter, serial) {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::RecordSerial,
        format_args!(
            "serial {serial} for voter {voter} of box {of_box}: the orders in force here allow serials from 1 to {}",
            effective.highest_serial(of_box, voter)
        ),
    ))
}

fn serial(issue: &Issue, serial: u32) -> Serial {
    // A half is 0 or 1: checked when it was parsed.
    let half = u8::try_from(issue.half.number()).unwrap_or(u8::MAX);
    Serial {
        voter: issue.voter.get(),
        half,
        serial,
        after: 0,
    }
}
