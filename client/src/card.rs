//! A voter's identity card, or a file in its place: certificates, and a key that signs once.

mod file;
mod token;

use std::path::{Path, PathBuf};

use tally_proto::card::{CardError, Scheme, check_certificate, is_authority, scheme_of};
use tally_proto::ids::UnixSeconds;
use tally_proto::manifest::Register;
use tally_proto::reason::Reason;
use thiserror::Error;
use zeroize::Zeroizing;

pub use file::CardFile;
pub use token::Token;

/// Why a card cannot be used. Says nothing that was typed.
#[derive(Debug, Error)]
pub enum CardFailure {
    /// The card's certificate will not be taken.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The module of the card's maker.
    #[error(
        "the card software {path} cannot be used: {detail}; install the software of your card, and name its PKCS#11 module"
    )]
    Module {
        /// The module.
        path: PathBuf,
        /// What it says.
        detail: String,
    },
    /// No reader.
    #[error("there is no card reader: connect one and repeat")]
    NoReader,
    /// A reader, no card.
    #[error("there is no card in the reader: put it in, chip first, and repeat")]
    NoCard,
    /// Another card than was asked for.
    #[error("no card is called {wanted:?}; there is {present}")]
    OtherToken {
        /// As asked for.
        wanted: String,
        /// What there is.
        present: String,
    },
    /// No certificate at all.
    #[error("there is no certificate on it: it is not an identity card, or not activated")]
    NoCertificate,
    /// The certificate's key is not there.
    #[error("the key of the certificate is not there: the card may be damaged")]
    NoKey,
    /// A wrong PIN, and more tries left.
    #[error("the PIN is wrong: several tries are left")]
    WrongPin,
    /// A wrong PIN, few tries left.
    #[error("the PIN is wrong, and few tries are left: look it up before the next one")]
    FewTriesLeft,
    /// A wrong PIN, one try left.
    #[error(
        "the PIN is wrong, and only one try is left: if that is wrong too the card is locked; look the PIN up first"
    )]
    LastTry,
    /// Locked.
    #[error(
        "the card is locked after too many wrong PINs: unlock it with its PUK in your card's own software, or at the office that issued it"
    )]
    Locked,
    /// Nothing was typed.
    #[error("no PIN was typed: the card was not asked, and no try is lost; repeat and type it")]
    NoPin,
    /// The person did not go on.
    #[error("the card's question was cancelled: nothing was signed")]
    Cancelled,
    /// A key that wants the PIN within each signature, behind a module that signs in one step only.
    #[error(
        "the card wants its PIN within each signature with this key, and its software does not take it there: no signature was made; install the newest software of your card, vote at a station, or ask the election commission"
    )]
    AsksAgain,
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A wrong password.
    #[error("the password of {path} is wrong")]
    WrongPassword {
        /// The file.
        path: PathBuf,
    },
    /// Not such a file.
    #[error("{path} is no PKCS#12 file with a key and its certificate that this program reads: {detail}")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The card's software failed.
    #[error("the card failed: {0}; take it out, put it in again and repeat")]
    Failed(String),
}

impl CardFailure {
    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Card(error) => error.reason(),
            Self::Module { .. } => Reason::CardSoftware,
            Self::NoReader => Reason::CardReader,
            Self::NoCard => Reason::CardAbsent,
            Self::OtherToken { .. } => Reason::CardOther,
            Self::NoCertificate => Reason::CardEmpty,
            Self::NoKey => Reason::CardKeyMissing,
            Self::WrongPin => Reason::CardPinWrong,
            Self::FewTriesLeft => Reason::CardPinFew,
            Self::LastTry => Reason::CardPinLast,
            Self::Locked => Reason::CardLocked,
            Self::NoPin | Self::Cancelled => Reason::CardCancelled,
            Self::AsksAgain => Reason::CardAsksAgain,
            Self::Unreadable { .. } | Self::NotAFile { .. } => Reason::CardFile,
            Self::WrongPassword { .. } => Reason::CardFilePassword,
            Self::Failed(_) => Reason::CardFailed,
        }
    }
}

/// Asks for the PIN: is given the question.
pub type Ask<'a> = dyn FnMut(&str) -> Result<Zeroizing<String>, CardFailure> + 'a;

/// Where the key is.
#[derive(Debug)]
pub enum Card {
    /// On a card, behind its maker's PKCS#11 module.
    Token(Token),
    /// In a PKCS#12 file.
    File(CardFile),
}

/// A certificate on a card: the id of its key there, and DER.
type Shown = (Vec<u8>, Vec<u8>);

impl Card {
    /// All certificates.
    fn certificates(&self) -> Result<Vec<Shown>, CardFailure> {
        match self {
            Self::Token(token) => token.certificates(),
            Self::File(file) => Ok(file.certificates()),
        }
    }

    /// The certificate that `register` takes at `now`: a card has several, as one to log in with and one to sign documents.
    ///
    /// # Errors
    /// [`CardFailure::NoCertificate`]; else why the best of them is not taken.
    pub fn choose(&self, register: &Register, now: UnixSeconds) -> Result<Chosen, CardFailure> {
        let all = self.certificates()?;
        let mut best: Option<CardError> = None;
        for (id, der) in all.iter().filter(|(_, der)| !is_authority(der)) {
            // As the parties will: the register brings every authority above it, whatever the card has of them.
            match check_certificate(register, der, &[now]) {
                Ok(_) => {
                    return Ok(Chosen {
                        id: id.clone(),
                        scheme: scheme_of(der)?,
                        certificate: der.clone(),
                    });
                }
                Err(error) if best.as_ref().is_none_or(|best| tells(best) < tells(&error)) => {
                    best = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(best.map_or(CardFailure::NoCertificate, CardFailure::Card))
    }

    /// The card's signatures over each of `due`; asks for the PIN if there must be one, once, or again where the card wants it for every signature.
    ///
    /// # Errors
    /// [`CardFailure`].
    pub fn sign<const N: usize>(
        &self,
        chosen: &Chosen,
        due: [Vec<u8>; N],
        ask: &mut Ask<'_>,
    ) -> Result<[Vec<u8>; N], CardFailure> {
        let signed = match self {
            Self::Token(token) => token.sign(chosen, &due, ask)?,
            Self::File(file) => {
                let each = due.iter().map(|bytes| file.sign(chosen.scheme, bytes));
                each.collect::<Result<Vec<_>, _>>()?
            }
        };
        signed.try_into().map_err(|_| CardFailure::NoKey)
    }
}

/// How much a refusal tells: one of a certificate of the right kind more than one that is for something else or of another authority.
fn tells(error: &CardError) -> u8 {
    match error {
        CardError::Malformed(_) => 0,
        CardError::OtherIssuer => 1,
        CardError::Purpose(_) => 2,
        _ => 3,
    }
}

/// The certificate that is used.
#[derive(Debug, Clone)]
pub struct Chosen {
    id: Vec<u8>,
    scheme: Scheme,
    certificate: Vec<u8>,
}

impl Chosen {
    /// How its key signs.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
    /// The voter's certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, CardFailure> {
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| CardFailure::Unreadable {
            path: path.to_path_buf(),
            source,
        })
}
