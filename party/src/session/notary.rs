//! The party's signature on its statements at the engine's barriers, and the check of the neighbours'.

use tally_mpc::Notary;
use tally_proto::envelope::{PublicKey, SignatureBytes, Signer};
use tally_proto::ids::{Hash32, Role, RoleExt as _};
use tally_proto::layout::Writer;

/// Domain of a statement's signature.
const STATEMENT: &str = "tally/v1/session-statement";

/// Signs and checks the statements of one session with the parties' own keys, bound to the session's id.
pub(crate) struct SessionNotary {
    session: Hash32,
    signer: Signer,
    keys: [PublicKey; 3],
}

impl SessionNotary {
    /// For the session of that id.
    pub(crate) fn new(session: Hash32, signer: Signer, keys: [PublicKey; 3]) -> Self {
        Self {
            session,
            signer,
            keys,
        }
    }

    fn message(&self, statement: &[u8]) -> Writer {
        Writer::new(STATEMENT)
            .fixed(self.session.as_bytes())
            .bytes(statement)
    }
}

impl Notary for SessionNotary {
    fn sign(&mut self, statement: &[u8]) -> [u8; 64] {
        self.signer.sign_layout(&self.message(statement)).0
    }

    fn verify(&mut self, signer: Role, statement: &[u8], signature: &[u8; 64]) -> bool {
        let message = self.message(statement);
        self.keys[signer.slot()].verify(message.as_bytes(), &SignatureBytes(*signature))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

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
