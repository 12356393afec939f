//! One run of sealing, from whatever is already written down to the end.

use std::future::Future;

use futures::future::try_join;
use tally_proto::envelope::{Envelope, Kind as Signed};
use tally_proto::ids::{BoxId, ElectionId, Role, RoleExt as _};
use tally_proto::sealing::{Statements, check_two_statements};
use tally_proto::wire;

use super::Sealing;
use super::claims::open_claims;
use super::error::{Basis, Finding, Lie, SealAbort, SealError};
use super::lists::open_list;
use super::peers::{Flaw, Item, PeerError, Peers};
use super::sealed_box::SealedBox;
use super::seals::open_seal;
use super::subject::Subject;
use super::tables::{self, Once};
use super::waiting::ask;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What is being done, a word.
    pub phase: &'static str,
    /// How much of it.
    pub done: u64,
    /// Of how much.
    pub total: u64,
}

impl Sealing {
    /// Seals a box together with the two others, or goes on where an earlier run stopped, or returns what was sealed before.
    /// `progress` is told every step.
    ///
    /// # Errors
    /// [`SealError::Waiting`], [`SealError::TooEarly`], [`SealError::OrdersMissing`]: run it again later. [`SealError::Aborted`]: a party
    /// is named. The others need a person.
    pub async fn run<P: Peers>(
        &self,
        election: &ElectionId,
        of_box: BoxId,
        peers: &P,
        mut progress: impl FnMut(Step) + Send,
    ) -> Result<SealedBox, SealError> {
        let subject = self.subject(election.as_str(), of_box.get()).await?;
        let lock = self.0.lock_of(subject.key);
        let _running = lock.lock().await;
        if let Some(sealed) = self.sealed(&subject).await? {
            return Ok(sealed);
        }
        let mut logged = "";
        let mut step = |phase, done, total| {
            if logged != phase {
                tracing::info!(%election, box_id = %of_box, step = %phase, "sealing");
                logged = phase;
            }
            progress(Step { phase, done, total });
        };

        step("list", 0, 1);
        let recollected = self.recollect(&subject, peers).await?;
        self.make_list(&subject).await?;
        step("list", 1, 1);

        let [one, other] = self.others();
        step("lists", 0, 2);
        try_join(
            self.take_list(&subject, one, peers),
            self.take_list(&subject, other, peers),
        )
        .await?;
        self.check_kinds(&subject).await?;
        step("lists", 2, 2);

        step("claims", 0, 3);
        self.make_claims(&subject).await?;
        step("claims", 1, 3);
        try_join(
            self.take_claims(&subject, one, peers),
            self.take_claims(&subject, other, peers),
        )
        .await?;
        self.settle_claims(&subject).await?;
        self.check_holdings(&subject, &recollected).await?;
        step("claims", 3, 3);

        self.fill_candidates(&subject, peers, &mut step).await?;

        step("seal", 0, 1);
        let seal = self.make_seal(&subject, recollected.seal()).await?;
        self.check_holdings(&subject, &recollected).await?;
        step("seal", 1, 1);

        step("signatures", 1, 3);
        self.take_seals(&subject, &seal, peers).await?;
        step("signatures", 3, 3);
        tracing::info!(%election, box_id = %of_box, "sealed");
        self.sealed(&subject).await?.ok_or(SealError::Interrupted)
    }

    /// The two other parties.
    pub(super) fn others(&self) -> [Role; 2] {
        [self.0.me.next(), self.0.me.prev()]
    }

    /// Compares what `of` signed, as it showed it here, with what the third party was shown.
    ///
    /// Waits for the third party: a step that needs all three is not left on the word of one.
    ///
    /// # Security
    /// The third party may carry anything that `of` ever signed. Only two statements about this box convict `of`.
    pub(super) async fn compare_crosswise<F: Future<Output = Result<Envelope, PeerError>>>(
        &self,
        subject: &Subject,
        what: Once,
        of: Role,
        shown_here: &Envelope,
        shown_there: impl Fn(Role, wire::SealRef) -> F,
    ) -> Result<(), SealError> {
        let (item, kind, lie) = match what {
            Once::List => (Item::List, Signed::List, Lie::TwoLists),
            Once::Claims => (Item::Claims, Signed::Claims, Lie::TwoClaims),
            Once::Seal => (Item::Seal, Signed::Seal, Lie::TwoSeals),
        };
        let Some(third) = self.0.me.third(of) else {
            return Ok(());
        };
        let there = ask(self.0.patience, third, item, || {
            shown_there(third, subject.reference(of))
        })
        .await?;
        if there.payload() == shown_here.payload() {
            return Ok(());
        }
        // Whoever took it from `of` has checked all this. What does not check the carrier invented, or took from another box: its word alone
        // names nobody.
        let flaw = match open(what, &there, subject, of) {
            Err(flaw) => Some(flaw),
            // What anyone who is shown the two will compute.
            Ok(()) => match check_two_statements(kind, of, &subject.keys, shown_here, &there) {
                Ok(Statements::Contradict) => None,
                _ => Some(Flaw::Subject),
            },
        };
        if let Some(flaw) = flaw {
            let source = PeerError::Malformed {
                peer: third,
                what: item,
                flaw,
            };
            return Err(SealError::Waiting {
                of: third,
                item,
                source,
            });
        }
        Err(self
            .convict(
                subject,
                of,
                lie,
                vec![evidence(what, shown_here), evidence(what, &there)],
            )
            .await?)
    }

    /// Writes down that signatures convict `named`, and ends the sealing with it.
    pub(super) async fn convict(
        &self,
        subject: &Subject,
        named: Role,
        lie: Lie,
        evidence: Vec<wire::Evidence>,
    ) -> Result<SealError, SealError> {
        let finding = Finding {
            named,
            lie,
            basis: Basis::Proved,
            digest: None,
        };
        self.convict_of(
            subject,
            finding,
            wire::Abort {
                evidence,
                ..Default::default()
            },
        )
        .await
    }

    /// The same, with all that goes into the Abort.
    pub(super) async fn convict_of(
        &self,
        subject: &Subject,
        finding: Finding,
        with: wire::Abort,
    ) -> Result<SealError, SealError> {
        let statement = self.0.state(subject, &finding, with);
        let (key, bytes) = (subject.key, statement.encode());
        let of = (finding.named.index(), finding.lie.stored_as());
        self.blocking(move |inner| Ok(inner.store.write(|tx| tables::put_proof(tx, key, of, &bytes))?))
            .await?;
        Ok(SealError::Aborted(Box::new(SealAbort { finding, statement })))
    }
}

/// Checks signature, form and subject of the List, Claims or Seal of `of`.
fn open(what: Once, envelope: &Envelope, subject: &Subject, of: Role) -> Result<(), Flaw> {
    match what {
        Once::List => open_list(envelope.clone(), subject, of).map(drop),
        Once::Claims => open_claims(envelope, subject, of).map(drop),
        Once::Seal => open_seal(envelope, subject, of).map(drop),
    }
}

/// A signed object as evidence.
pub(super) fn evidence(what: Once, envelope: &Envelope) -> wire::Evidence {
    use wire::evidence::Object;
    let envelope = envelope.to_wire();
    wire::Evidence {
        object: Some(match what {
            Once::List => Object::List(envelope),
            Once::Claims => Object::Claims(envelope),
            Once::Seal => Object::Seal(envelope),
        }),
    }
}
