//! Cards behind a PKCS#11 module.

use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, CertificateType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
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

    /// `again`: the card forgets its PIN with every signature. What was typed, for a key that wants it within each signature too; `None` where it is
    /// typed on the reader's own keys.
    fn log_in(
        &self,
        session: &Session,
        again: bool,
        ask: &mut Ask<'_>,
    ) -> Result<Option<AuthPin>, CardFailure> {
        let before = self.about()?;
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
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(pin),
            Err(error) => Err(self.not_let_in(error)),
        }
    }

    fn about(&self) -> Result<TokenInfo, CardFailure> {
        self.module.get_token_info(self.slot).map_err(failed)
    }

    /// Why a PIN let nobody in, with what the card says of the tries that are left.
    fn not_let_in(&self, error: Error) -> CardFailure {
        match error {
            Error::Pkcs11(RvError::PinIncorrect | RvError::PinLenRange | RvError::PinInvalid, _) => {
                match self.about() {
                    Err(failure) => failure,
                    Ok(after) if after.user_pin_locked() => CardFailure::Locked,
                    Ok(after) if after.user_pin_final_try() => CardFailure::LastTry,
                    Ok(after) if after.user_pin_count_low() => CardFailure::FewTriesLeft,
                    Ok(_) => CardFailure::WrongPin,
                }
            }
            error => failed(error),
        }
    }

    pub(super) fn sign(
        &self,
        chosen: &Chosen,
        due: &[Vec<u8>],
        ask: &mut Ask<'_>,
    ) -> Result<Vec<Vec<u8>>, CardFailure> {
        let session = self.session()?;
        let pin = self.log_in(&session, false, ask)?;
        let template = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Id(chosen.id.clone()),
        ];
        let keys = session.find_objects(&template).map_err(failed)?;
        let key = *keys.first().ok_or(CardFailure::NoKey)?;
        let known = self.module.get_mechanism_list(self.slot).map_err(failed)?;
        let within = wants_pin_within(&session, key);
        let sign = |bytes: &[u8]| {
            if !within {
                let (mechanism, shown) = in_one_step(chosen.scheme, &known, bytes);
                match session.sign(&mechanism, key, &shown) {
                    // Logged in, and begun: what is missing is the PIN for this signature, though the card does not say so of its key.
                    Err(Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign)) => {}
                    signed => return signed.map_err(failed),
                }
            }
            self.sign_within(
                &session,
                key,
                pin.as_ref(),
                in_steps(chosen.scheme, &known, bytes),
            )
        };
        let signatures = each(due, sign, || self.log_in(&session, true, ask).map(drop))?;
        // What the card may do ends with these signatures; a module that will not log out closes the session all the same.
        let _ = session.logout();
        Ok(signatures)
    }

    /// A signature with the PIN between its beginning and its bytes (PKCS#11 v2.40, `CKA_ALWAYS_AUTHENTICATE`): with the one that the card has just
    /// taken, once. The bytes go in a step of their own, since the library begins and signs in one.
    fn sign_within(
        &self,
        session: &Session,
        key: ObjectHandle,
        pin: Option<&AuthPin>,
        (mechanism, shown): (Mechanism<'_>, Vec<u8>),
    ) -> Result<Vec<u8>, CardFailure> {
        session.sign_init(&mechanism, key).map_err(failed)?;
        match session.login(UserType::ContextSpecific, pin) {
            Ok(()) => {}
            // It knows no such login, or none for what was begun.
            Err(Error::Pkcs11(
                RvError::UserTypeInvalid | RvError::OperationNotInitialized | RvError::FunctionNotSupported,
                _,
            )) => return Err(CardFailure::AsksAgain),
            Err(error) => return Err(self.not_let_in(error)),
        }
        let signed = session.sign_update(&shown).and_then(|()| session.sign_final());
        signed.map_err(|error| match error {
            // It signs with this mechanism in one step only.
            Error::Pkcs11(
                RvError::OperationNotInitialized
                | RvError::FunctionNotSupported
                | RvError::MechanismInvalid
                | RvError::UserNotLoggedIn,
                _,
            ) => CardFailure::AsksAgain,
            error => failed(error),
        })
    }
}

/// Whether the key wants the PIN within each signature; a card that does not know of such keys has none.
fn wants_pin_within(session: &Session, key: ObjectHandle) -> bool {
    let told = session.get_attributes(key, &[AttributeType::AlwaysAuthenticate]);
    matches!(told.as_deref(), Ok([Attribute::AlwaysAuthenticate(true)]))
}

/// How a card signs, and what it is shown.
fn in_one_step(scheme: Scheme, known: &[MechanismType], bytes: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    match scheme {
        Scheme::RsaPkcs1Sha256 | Scheme::RsaPssSha256 => {
            if known.contains(&MechanismType::SHA256_RSA_PKCS) {
                (Mechanism::Sha256RsaPkcs, bytes.to_vec())
            } else {
                let info = [&SHA256_INFO[..], &Sha256::digest(bytes)].concat();
                (Mechanism::RsaPkcs, info)
            }
        }
        Scheme::EcdsaP256Sha256 => (Mechanism::Ecdsa, Sha256::digest(bytes).to_vec()),
        Scheme::EcdsaP384Sha384 => (Mechanism::Ecdsa, Sha384::digest(bytes).to_vec()),
    }
}

/// The same for a signature in steps: every card that hashes takes what it hashes in steps, and of a digest only some modules do.
fn in_steps(scheme: Scheme, known: &[MechanismType], bytes: &[u8]) -> (Mechanism<'static>, Vec<u8>) {
    match scheme {
        Scheme::EcdsaP256Sha256 if known.contains(&MechanismType::ECDSA_SHA256) => {
            (Mechanism::EcdsaSha256, bytes.to_vec())
        }
        Scheme::EcdsaP384Sha384 if known.contains(&MechanismType::ECDSA_SHA384) => {
            (Mechanism::EcdsaSha384, bytes.to_vec())
        }
        scheme => in_one_step(scheme, known, bytes),
    }
}

/// Signs one after the other, logging in `again` where the card has forgotten its PIN with the signature before.
fn each(
    due: &[Vec<u8>],
    mut sign: impl FnMut(&[u8]) -> Result<Vec<u8>, CardFailure>,
    mut again: impl FnMut() -> Result<(), CardFailure>,
) -> Result<Vec<Vec<u8>>, CardFailure> {
    let mut signatures = Vec::with_capacity(due.len());
    for bytes in due {
        let signed = match sign(bytes) {
            Err(CardFailure::AsksAgain) if !signatures.is_empty() => {
                again()?;
                sign(bytes)
            }
            signed => signed,
        };
        signatures.push(signed?);
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
                return Err(failed(Error::Pkcs11(RvError::UserNotLoggedIn, Function::Sign)));
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
