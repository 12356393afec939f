//! What a party says it knows of a ballot, checked as far as it can be: its receipt against its key, the header against the digest.

use tally_proto::ballot::BallotHeader;
use tally_proto::holder::Holder;
use tally_proto::ids::{BoxId, Digest, ElectionId, Hash32, Role};
use tally_proto::reason::Reason;
use tally_proto::receipt::{Acceptance, Receipt};
use tally_proto::wire;
use tally_proto::wire::lookup_reply::Public;
use tally_proto::wire::sealed_fate;

use crate::connections::Connections;
use crate::fault::Fault;
use crate::link::Link;

/// A ballot by its name: the public digest, and what shows that somebody was given it by whoever cast the ballot.
#[derive(Clone, Debug)]
pub struct Named {
    /// The election.
    pub election: ElectionId,
    /// The box.
    pub of_box: BoxId,
    /// The digest.
    pub digest: Digest,
    /// Without it no party says when it took the ballot and where in its log.
    pub holder: Holder,
}

impl Named {
    /// The name as people keep it: BOX:DIGEST-WORDS.
    pub fn to_text(&self) -> String {
        format!(
            "{}:{}-{}",
            self.of_box,
            self.digest,
            self.holder.to_text(&self.digest)
        )
    }
}

/// What became of a ballot when its box was sealed, as one party says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is on the list of what is tallied. Whether it counts there, or another ballot of the same voter does, nobody learns.
    Listed,
    /// It was left out, by a public check.
    Excluded {
        /// The reason's stable code.
        code: String,
    },
    /// Fewer than two parties had accepted it in time.
    NoCandidate,
}

/// One party's checked answer.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// It says that it accepted the ballot.
    pub(crate) says_accepted: bool,
    /// Its own acceptance, and the receipt with its signature: shown to who shows the words of the ballot's holder.
    pub(crate) accepted: Option<(Acceptance, wire::Receipt)>,
    /// The header of exactly this digest.
    pub(crate) header: Option<BallotHeader>,
    /// Once the box is sealed: the Seal's hash, and what it says.
    pub(crate) sealed: Option<(Hash32, Sealed)>,
}

/// Asks all three parties; in party order.
pub(crate) async fn ask(connections: &Connections, named: &Named) -> [Result<Known, Fault>; 3] {
    let of = |party: Role| async move {
        let link = connections.link(party);
        let asked = wire::LookupRequest {
            election: named.election.as_str().to_owned(),
            r#box: named.of_box.get(),
            digest: named.digest.0.to_vec(),
            record: false,
            holder: named.holder.word_for(party).to_vec(),
        };
        check(link, named, link.lookup(asked).await?)
    };
    let (one, two, three) = tokio::join!(of(Role::P1), of(Role::P2), of(Role::P3));
    [one, two, three]
}

fn check(link: &Link, named: &Named, reply: wire::LookupReply) -> Result<Known, Fault> {
    if reply.receipt.is_some() && !reply.accepted {
        return Err(link.lies(
            Reason::ReceiptInvalid,
            "shows a receipt for what it says that it did not accept",
        ));
    }
    let accepted = reply
        .receipt
        .as_ref()
        .map(|receipt| acceptance(link, named, receipt));
    let header = match &reply.public {
        None => None,
        Some(Public::Ballot(header)) => Some(
            BallotHeader::from_wire(header)
                .ok()
                .filter(|header| header.digest() == named.digest)
                .ok_or_else(|| {
                    link.lies(
                        Reason::BallotKnownOtherContent,
                        "shows a header that is not of this ballot",
                    )
                })?,
        ),
        Some(Public::RecordHeader(_)) => {
            return Err(link.lies(
                Reason::MessageMalformed,
                "answers with a record where a ballot was asked for",
            ));
        }
    };
    let sealed = reply.sealed.map(|fate| {
        let hash = Hash32::from_slice(&fate.seal_hash).ok();
        let says = match fate.fate {
            Some(sealed_fate::Fate::OnList(true)) => Some(Sealed::Listed),
            Some(sealed_fate::Fate::NoCandidate(true)) => Some(Sealed::NoCandidate),
            // A code is letters, points and hyphens; what is not would be shown to people.
            Some(sealed_fate::Fate::Excluded(code)) => {
                code.parse::<Reason>().ok().map(|_| Sealed::Excluded { code })
            }
            _ => None,
        };
        hash.zip(says).ok_or_else(|| {
            link.lies(
                Reason::MessageMalformed,
                "says nothing intelligible of the sealed list",
            )
        })
    });
    Ok(Known {
        says_accepted: reply.accepted,
        accepted: accepted.transpose()?.zip(reply.receipt),
        header,
        sealed: sealed.transpose()?,
    })
}

fn acceptance(link: &Link, named: &Named, receipt: &wire::Receipt) -> Result<Acceptance, Fault> {
    let lies = || {
        link.lies(
            Reason::ReceiptInvalid,
            "shows a receipt that is not its own for this ballot",
        )
    };
    let receipt = Receipt::from_wire(receipt).map_err(|_| lies())?;
    let acceptance = receipt.verify(&link.keys).map_err(|_| lies())?;
    let fits = acceptance.party == link.party
        && acceptance.election == named.election
        && acceptance.of_box == named.of_box
        && acceptance.digest == named.digest;
    if fits { Ok(acceptance.clone()) } else { Err(lies()) }
}

impl Link {
    /// A false answer that no signature proves.
    pub(crate) fn lies(&self, reason: Reason, what: &str) -> Fault {
        self.proven(reason, what.to_owned(), Vec::new())
    }

    /// It shows no receipt for what it says that it accepted.
    pub(crate) fn withholds(&self) -> Fault {
        Fault::Withheld {
            party: self.party,
            agency: self.agency.clone(),
        }
    }

    /// A false answer, with the signatures that do not fit together.
    pub(crate) fn proven(&self, reason: Reason, what: String, evidence: Vec<String>) -> Fault {
        Fault::FalseAnswer {
            party: self.party,
            agency: self.agency.clone(),
            reason,
            what,
            evidence,
        }
    }
}
