//! PKCS#12 files in the place of cards.

use std::path::{Path, PathBuf};

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use tally_proto::fixture::cards;

pub(crate) const PASSWORD: &str = "pilot";

/// A PKCS#12 file in `root` as an authority hands it out: the key, its certificate and the issuing CA's.
pub(crate) fn pkcs12(root: &Path, issuing: &[u8], card: &cards::Card) -> PathBuf {
    let chain = [card.certificate.as_slice(), issuing].map(|der| Certificate::from_der(der).expect("read"));
    let key = PrivateKey::from_der(&card.key_der()).expect("a key");
    let mut store = KeyStore::new();
    let entry = KeyStoreEntry::PrivateKeyChain(PrivateKeyChain::new("1", key, chain));
    store.add_entry("voter", entry);
    let path = root.join(format!("{}.p12", data_encoding::HEXLOWER.encode(&card.serial)));
    std::fs::write(&path, store.writer(PASSWORD).write().expect("written")).expect("written");
    path
}
