//! Cards behind a PKCS#11 module.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use sha2::{Digest as _, Sha256, Sha384};
use tally_proto::card::Scheme;

use super::{Ask, CardFailure, Chosen, Shown};

/// DigestInfo of SHA-256 up to the digest (RFC 8017, section 9.2), for cards that do not hash by themselves.
const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

/// A card in a reader.
#[derive(Debug)]
pub struct Token {
    module: Pkcs11,
    slot: Slot,
}

fn failed(error: Error) -> CardFailure {
    match error {
        Error::Pkcs11(RvError::TokenNotPresent | RvError::DeviceRemoved, _) => CardFailure::NoCard,
        Error::Pkcs11(RvError::FunctionCanceled | RvError::FunctionRejected, _) => CardFailure::Cancelled,
        Error::Pkcs11(RvError::PinLocked, _) => CardFailure::Locked,
        // The session was logged in when it came to this.
        Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign | Function::SignInit) => {
            CardFailure::AsksAgain
        }
        other => CardFailure::Failed(other.to_string()),
    }
}

impl Token {
    /// The card in a reader of the module at that path; of several the one of that label, or the first.
    ///
    /// # Errors
    /// [`CardFailure::Module`], [`CardFailure::NoReader`], [`CardFailure::NoCard`], [`CardFailure::OtherToken`].
    pub fn find(path: &Path, wanted: Option<&str>) -> Result<Self, CardFailure> {
        let unusable = |error: Error| CardFailure::Module {
            path: path.to_path_buf(),
            detail: error.to_string(),
        };
        let module = Pkcs11::new(path).map_err(unusable)?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Somebody else in this process has.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(unusable(error)),
        }
        let slots = module.get_slots_with_token().map_err(failed)?;
        if slots.is_empty() && module.get_all_slots().map_err(failed)?.is_empty() {
            return Err(CardFailure::NoReader);
        }
        let mut labels = Vec::new();
        for slot in slots {
            let about = module.get_token_info(slot).map_err(failed)?;
            // A slot that waits for a card to be made is none for voters.
            if !about.token_initialized() {
                continue;
            }
            if wanted.is_none_or(|wanted| about.label() == wanted) {
                return Ok(Self { module, slot });
            }
            labels.push(format!("{:?}", about.label()));
        }
        match wanted {
            Some(wanted) if !labels.is_empty() => Err(CardFailure::OtherToken {
                wanted: wanted.to_owned(),
                present: labels.join(", "),
            }),
            _ => Err(CardFailure::NoCard),
        }
    }

    fn session(&self) -> Result<Session, CardFailure> {
        self.module.open_ro_session(self.slot).map_err(failed)
    }

    /// Every certificate that the card shows without a PIN.
    pub(super) fn certificates(&self) -> Result<Vec<Shown>, CardFailure> {
        let session = self.session()?;
        let template = [
            Attribute::Class(ObjectClass::CERTIFICATE),
            Attribute::CertificateType(CertificateType::X_509),
        ];
        let mut all = Vec::new();
        for object in session.find_objects(&template).map_err(failed)? {
            let (mut id, mut der) = (Vec::new(), Vec::new());
            let wanted = [AttributeType::Id, AttributeType::Value];
            for attribute in session.get_attributes(object, &wanted).map_err(failed)? {
                match attribute {
                    Attribute::Id(bytes) => id = bytes,
                    Attribute::Value(bytes) => der = bytes,
                    _ => {}
                }
            }
            all.push((id, der));
        }
        Ok(all)
    }

    /// `again`: the card forgets its PIN with every signature.
    fn log_in(&self, session: &Session, again: bool, ask: &mut Ask<'_>) -> Result<(), CardFailure> {
        let about = || self.module.get_token_info(self.slot).map_err(failed);
        let before = about()?;
        if before.user_pin_locked() {
            return Err(CardFailure::Locked);
        }
        let pin = if before.protected_authentication_path() {
            // Typed on the reader's own keys.
            None
        } else {
            let left = if before.user_pin_final_try() {
                " (only one try is left)"
            } else if before.user_pin_count_low() {
                " (few tries are left)"
            } else {
                ""
            };
            let once_more = if again {
                "The card wants its PIN for every signature, and this is another one. "
            } else {
                ""
            };
            let typed = ask(&format!("{once_more}PIN of the card {:?}{left}:", before.label()))?;
            // To the card it would be a wrong one.
            if typed.is_empty() {
                return Err(CardFailure::NoPin);
            }
            Some(AuthPin::from(typed.as_str()))
        };
        match session.login(UserType::User, pin.as_ref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _)) => {
                let after = about()?;
                Err(if after.user_pin_locked() {
                    CardFailure::Locked
                } else if after.user_pin_final_try() {
                    CardFailure::LastTry
                } else if after.user_pin_count_low() {
                    CardFailure::FewTriesLeft
                } else {
                    CardFailure::WrongPin
                })
            }
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn sign(
        &self,
        chosen: &Chosen,
        due: &[Vec<u8>],
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Vec<u8>>, CardFailure> {
        let session = self.session()?;
        self.log_in(&session, false, ask)?;
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Id(chosen.id.clone()),
        ];
        let keys = session.find_objects(&template).map_err(failed)?;
        let key = *keys.first().ok_or(CardFailure::NoKey)?;
        let known = self.module.get_mechanism_list(self.slot).map_err(failed)?;
        let sign = |bytes: &[u8]| match chosen.scheme {
            Scheme::RsaPkcs1Sha256 | Scheme::RsaPssSha256 => {
                if known.contains(&MechanismType::SHA256_RSA_PKCS) {
                    session.sign(&Mechanism::Sha256RsaPkcs, key, bytes)
                } else {
                    let info = [&SHA256_INFO[..], &Sha256::digest(bytes)].concat();
                    session.sign(&Mechanism::RsaPkcs, key, &info)
                }
            }
            Scheme::EcdsaP256Sha256 => session.sign(&Mechanism::Ecdsa, key, &Sha256::digest(bytes)),
            Scheme::EcdsaP384Sha384 => session.sign(&Mechanism::Ecdsa, key, &Sha384::digest(bytes)),
        };
        let signatures = each(due, sign, || self.log_in(&session, true, ask))?;
        // What the card may do ends with these signatures; a module that will not log out closes the session all the same.
        let _ = session.logout();
        Ok(signatures)
    }
}

/// Signs one after the other, logging in `again` where the card has forgotten its PIN with the signature before.
fn each(
    due: &[Vec<u8>],
    mut sign: impl FnMut(&[u8]) -> Result<Vec<u8>, Error>,
    mut again: impl FnMut() -> Result<(), CardFailure>,
) -> Result<Vec<Vec<u8>>, CardFailure> {
    let mut signatures = Vec::with_capacity(due.len());
    for bytes in due {
        let signed = match sign(bytes) {
            Err(Error::Pkcs11(RvError::UserNotLoggedIn, _)) if !signatures.is_empty() => {
                again()?;
                sign(bytes)
            }
            signed => signed,
        };
        signatures.push(signed.map_err(failed)?);
    }
    Ok(signatures)
}

#[cfg(test)]
mod tests {
    use cryptoki::context::Function;

    use super::*;

    /// Signs with one byte in front, for so many signatures after each PIN.
    fn signed(per_pin: usize, accepts: bool) -> (Result<Vec<Vec<u8>>, CardFailure>, usize) {
        let (left, asked) = (std::cell::Cell::new(per_pin), std::cell::Cell::new(0));
        let due = [vec![1], vec![2], vec![3]];
        let sign = |bytes: &[u8]| {
            if left.get() == 0 {
                return Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign));
            }
            left.set(left.get() - 1);
            Ok([&[0], bytes].concat())
        };
        let again = || {
            asked.set(asked.get() + 1);
            left.set(per_pin);
            if accepts {
                Ok(())
            } else {
                Err(CardFailure::WrongPin)
            }
        };
        (each(&due, sign, again), asked.get())
    }

    #[test]
    fn a_card_that_wants_its_pin_for_every_signature_is_given_it_again_and_no_other_is() {
        let all = vec![vec![0, 1], vec![0, 2], vec![0, 3]];
        for (per_pin, asked) in [(3, 0), (2, 1), (1, 2)] {
            let (signatures, again) = signed(per_pin, true);
            assert_eq!((signatures.unwrap(), again), (all.clone(), asked));
        }
        let (refused, again) = signed(1, false);
        assert!(
            matches!(refused, Err(CardFailure::WrongPin)) && again == 1,
            "{refused:?}"
        );
        // A first signature that the card refuses is no matter of a PIN once more.
        let (refused, again) = signed(0, true);
        assert!(
            matches!(refused, Err(CardFailure::AsksAgain)) && again == 0,
            "{refused:?}"
        );
    }
}
