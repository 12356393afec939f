//! The other two's part in a complaint: the mediator's and the accused's. The rules are told in [`complaint`].

use tally_proto::envelope::Envelope;
use tally_proto::ids::{Role, RoleExt as _};
use tally_proto::one_time::{OneTimeError, OneTimeKey};
use tally_proto::shares::Opening;
use tally_proto::wire;
use zeroize::Zeroizing;

use super::Sealing;
use super::complaint::{self, Complaint, ComplaintError, common_share};
use super::error::{Basis, Finding, Lie, SealError};
use super::fill::{Held, accepts, is_candidate};
use super::peers::{Flaw, Item, PeerError, Peers};
use super::subject::Subject;
use super::tables;
use super::waiting::{Patience, ask};

impl Sealing {
    /// As the mediator: fetches the answer of the accused to the complaint of `caller`, or states that it is silent.
    ///
    /// # Errors
    /// [`SealError::Complaint`]: the complaint is not one. [`SealError::NotYet`]: this party has not settled the Claims.
    pub async fn mediate<P: Peers>(
        &self,
        caller: Role,
        complaint: wire::Envelope,
        peers: &P,
    ) -> Result<wire::Mediation, SealError> {
        let envelope = Envelope::from_wire(complaint)?;
        let (subject, complaint) = self.complaint_of(&envelope, caller).await?;
        self.check_owed(&subject, &complaint).await?;
        // A key that takes no answers would make the accused look silent.
        if !OneTimeKey::is_usable(&complaint.one_time_key) {
            return Err(ComplaintError::from(OneTimeError::Key).into());
        }
        let (accused, hash) = (complaint.accused, envelope.hash());
        // Less than the complainant waits for us.
        let patience = Patience {
            total: self.0.patience.hold,
            ..self.0.patience
        };
        let answered = ask(patience, accused, Item::Answer, || async {
            let malformed = || PeerError::Malformed {
                peer: accused,
                what: Item::Answer,
                flaw: Flaw::Signature,
            };
            let answer = peers.answer(accused, envelope.to_wire()).await?;
            let answer = Envelope::from_wire(answer).map_err(|_| malformed())?;
            complaint::open_answer(&answer, hash, accused, &subject.keys).map_err(|_| malformed())?;
            Ok(answer)
        })
        .await;
        Ok(match answered {
            Ok(answer) => wire::Mediation {
                answer: Some(answer.to_wire()),
                statement: None,
            },
            Err(_) => {
                let finding = Finding {
                    named: accused,
                    lie: Lie::Silent,
                    basis: Basis::Stated,
                    digest: Some(complaint.digest),
                };
                let object = wire::evidence::Object::Complaint(envelope.to_wire());
                let evidence = vec![wire::Evidence { object: Some(object) }];
                let statement = self.0.state(
                    &subject,
                    &finding,
                    wire::Abort {
                        evidence,
                        ..Default::default()
                    },
                );
                wire::Mediation {
                    answer: None,
                    statement: Some(statement.to_wire()),
                }
            }
        })
    }

    /// As the accused: answers a complaint that the mediator `caller` passes on.
    ///
    /// # Errors
    /// [`SealError::Complaint`]: the complaint is not one, or its digest was never accepted here.
    ///
    /// # Security
    /// The answer opens only with the complainant's key, to the share that it is entitled to; the mediator sees ciphertext.
    pub async fn answer(&self, caller: Role, complaint: wire::Envelope) -> Result<wire::Envelope, SealError> {
        let envelope = Envelope::from_wire(complaint)?;
        let (subject, complaint) = self.complaint(&envelope).await?;
        if complaint.accused != self.0.me || self.0.me.third(complaint.complainant) != Some(caller) {
            return Err(ComplaintError::Subject.into());
        }
        let hash = envelope.hash();
        self.blocking(move |inner| {
            inner.store.read(|tx| {
                if tables::signed(tx, subject.key, tables::Once::List, inner.me.index())?.is_none() {
                    return Err(SealError::NotYet(Item::Answer));
                }
                // Also what it lost and got back: it stands on its List.
                let held = Held::any(tx, &subject, complaint::kind(&complaint), &complaint.digest)?.ok_or(
                    ComplaintError::NotHeld {
                        digest: complaint.digest,
                    },
                )?;
                let opening = held.opening(inner, &subject, common_share(inner.me, complaint.complainant))?;
                let key = &complaint.one_time_key;
                let answer = complaint::answer(
                    hash,
                    inner.me,
                    key,
                    &opening,
                    &inner.signer,
                    &mut inner.entropy.rng(),
                )?;
                Ok(answer.to_wire())
            })
        })
        .await
    }

    /// As the mediator: judges an answer by the one-time key that `caller`, the complainant, shows. The word is signed, and the first proof of
    /// such a lie of that party kept.
    ///
    /// # Security
    /// A complainant can draw any number of keys, and have any number of complaints judged: of these nothing is written.
    ///
    /// # Errors
    /// [`SealError::Complaint`]: complaint, answer and key do not belong together.
    pub async fn judge(
        &self,
        caller: Role,
        request: wire::JudgeRequest,
    ) -> Result<wire::Envelope, SealError> {
        let missing = || SealError::from(ComplaintError::Subject);
        let envelope = Envelope::from_wire(request.complaint.ok_or_else(missing)?)?;
        let answer = Envelope::from_wire(request.answer.ok_or_else(missing)?)?;
        let shown = Zeroizing::new(request.private_key);
        let (subject, complaint) = self.complaint_of(&envelope, caller).await?;
        self.check_owed(&subject, &complaint).await?;
        let hash = envelope.hash();
        let sealed = complaint::open_answer(&answer, hash, complaint.accused, &subject.keys)?;
        self.blocking(move |inner| {
            let digest = complaint.digest;
            let public = inner
                .store
                .read(|tx| Held::any(tx, &subject, complaint::kind(&complaint), &digest))?
                .ok_or(ComplaintError::NotHeld { digest })?
                .public;
            let of = common_share(complaint.complainant, complaint.accused);
            let context = public.context(&subject)?;
            let opens = |opening: &Opening| public.is_opened_by(&context, of, opening);
            let verdict = complaint::judge(&complaint, hash, &sealed, &shown, opens)?;
            let (named, lie) = match verdict {
                complaint::Verdict::AnswerWrong => (complaint.accused, Lie::WrongAnswer),
                complaint::Verdict::AnswerRight => (complaint.complainant, Lie::FalseComplaint),
            };
            let finding = Finding {
                named,
                lie,
                basis: Basis::Proved,
                digest: Some(digest),
            };
            let object = |object| wire::Evidence { object: Some(object) };
            let abort = wire::Abort {
                evidence: vec![
                    object(wire::evidence::Object::Complaint(envelope.to_wire())),
                    object(wire::evidence::Object::Answer(answer.to_wire())),
                ],
                one_time_key: shown.to_vec(),
                subject: Some(public.subject()),
                ..Default::default()
            };
            let statement = inner.state(&subject, &finding, abort);
            let of = (named.index(), lie.stored_as());
            let key = subject.key;
            if !inner.store.read(|tx| tables::is_proved(tx, key, of))? {
                let bytes = statement.encode();
                inner.store.write(|tx| tables::put_proof(tx, key, of, &bytes))?;
            }
            Ok(statement.to_wire())
        })
        .await
    }

    /// The complaint in `envelope`, signed by its complainant, and the box that it is about.
    async fn complaint(&self, envelope: &Envelope) -> Result<(Subject, Complaint), SealError> {
        let (election, of_box) = Complaint::place(envelope)?;
        let subject = self.subject(&election, of_box).await?;
        let complaint = Complaint::open(envelope, &subject.keys)?;
        Ok((subject, complaint))
    }

    /// The same, where this party must be the third and `caller` the complainant.
    async fn complaint_of(
        &self,
        envelope: &Envelope,
        caller: Role,
    ) -> Result<(Subject, Complaint), SealError> {
        let (subject, complaint) = self.complaint(envelope).await?;
        if complaint.complainant != caller || caller.third(complaint.accused) != Some(self.0.me) {
            return Err(ComplaintError::Subject.into());
        }
        Ok((subject, complaint))
    }

    /// A complaint is heard only where Lists and Claims say that the accused accepted a candidate. The complainant may have accepted it as well: a
    /// restored party has lost what it listed, and nobody else can know that.
    async fn check_owed(&self, subject: &Subject, complaint: &Complaint) -> Result<(), SealError> {
        let (subject, complaint) = (subject.clone(), complaint.clone());
        let item = Item::Mediation;
        self.0
            .steps
            .until(self.0.patience.hold, item, || {
                let (subject, complaint) = (subject.clone(), complaint.clone());
                self.blocking(move |inner| {
                    inner.store.read(|tx| {
                        if !tables::is_settled(tx, subject.key)? {
                            return Ok(None);
                        }
                        let kind = complaint::kind(&complaint);
                        let Complaint { digest, accused, .. } = &complaint;
                        let owed = accepts(tx, &subject, *accused, kind, digest)?
                            && is_candidate(tx, &subject, kind, digest)?;
                        if !owed {
                            return Err(ComplaintError::NotOwed { digest: *digest }.into());
                        }
                        Ok(Some(()))
                    })
                })
            })
            .await
    }
}
