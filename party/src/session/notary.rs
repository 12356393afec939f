//! The party's signature on its statements at the engine's barriers, and the check of the neighbours'.

use tally_mpc::{Notary, Statement};
use tally_proto::envelope::{PublicKey, SignatureBytes, Signer};
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::session::statement_layout;
use tally_proto::wire;
use tally_proto::wire::evidence::Object;

/// Signs and checks the statements of one session with the parties' own keys, bound to the session's id. Keeps this party's last one at
/// a barrier.
pub(crate) struct SessionNotary {
    session: Hash32,
    signer: Signer,
    keys: [PublicKey; 3],
    last: Option<wire::BarrierStatement>,
}

impl SessionNotary {
    /// For the session of that id.
    pub(crate) fn new(session: Hash32, signer: Signer, keys: [PublicKey; 3]) -> Self {
        Self {
            session,
            signer,
            keys,
            last: None,
        }
    }

    /// What this party signed at its last barrier, as evidence.
    pub(crate) fn last(&self) -> Option<wire::Evidence> {
        self.last.clone().map(|statement| wire::Evidence {
            object: Some(Object::Barrier(statement)),
        })
    }
}

impl Notary for SessionNotary {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        let signature = self
            .signer
            .sign_layout(&statement_layout(&self.session, statement))
            .0;
        // What a party signs at its end is for its log. It is no barrier's, and it would take the place of the evidence.
        let is_last =
            Statement::from_bytes(statement).is_some_and(|statement| statement.number == Statement::LAST);
        if !is_last {
            self.last = Some(wire::BarrierStatement {
                statement: statement.to_vec(),
                signature: signature.to_vec(),
            });
        }
        signature
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        let message = statement_layout(&self.session, statement);
        self.keys[signer.slot()].verify(message.as_bytes(), &SignatureBytes(*signature))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_statement_at_the_end_takes_no_evidence_away() {
        let mut rng = StdRng::seed_from_u64(3);
        let signer = Signer::generate(&mut rng);
        let keys = [signer.public_key(); 3];
        let mut notary = SessionNotary::new(Hash32([1; 32]), signer, keys);
        let statement = |number| Statement {
            binding: tally_mpc::Binding::new(&[1; 32], b"e", b"b", 1),
            signer: Role::P1,
            number,
            at: tally_mpc::Scope {
                phase: tally_mpc::Phase::Barrier,
                step: 0,
                chunk: 0,
            },
            channels: tally_mpc::ChannelHashes::from_bytes(&[4; 128]),
        };
        let _ = notary.sign(&statement(6).to_bytes());
        let _ = notary.sign(&statement(Statement::LAST).to_bytes());
        let kept = notary.last().and_then(|evidence| evidence.object);
        let Some(Object::Barrier(kept)) = kept else {
            panic!("{kept:?}")
        };
        assert_eq!(Statement::from_bytes(&kept.statement), Some(statement(6)));
    }

    #[test]
    fn a_statement_is_its_signers_in_its_session() {
        let mut rng = StdRng::seed_from_u64(3);
        let signers = [(); 3].map(|()| Signer::generate(&mut rng));
        let keys = [0, 1, 2].map(|i: usize| signers[i].public_key());
        let [first, second, _] = signers;
        let mut notary = SessionNotary::new(Hash32([1; 32]), first, keys);
        let signature = notary.sign(b"all is well");
        let mut other = SessionNotary::new(Hash32([1; 32]), second, keys);
        assert!(other.verify(Role::P1, b"all is well", &signature));
        assert!(!other.verify(Role::P2, b"all is well", &signature));
        assert!(!other.verify(Role::P1, b"all is bad", &signature));
        let mut altered = signature;
        altered[40] ^= 1;
        assert!(!other.verify(Role::P1, b"all is well", &altered));
        other.session = Hash32([2; 32]);
        assert!(
            !other.verify(Role::P1, b"all is well", &signature),
            "another session"
        );
    }
}
