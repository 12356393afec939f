//! Revocation lists of issuing CAs (RFC 5280, section 5): complete lists, direct, by the CA's own key.
//!
//! A CA may split what it revokes over several lists, each with the name of a distribution point. Such a list covers those certificates only
//! that name the same point (section 6.3.3, (b)(2)(i)); several of them may be there together, and only what covers a certificate answers for
//! it.

use std::collections::HashSet;

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::x509::{CRL_SIGN, Certificate, PointName, Signed, scope_of_list};
use super::{CardError, Holder};
use crate::ids::{Hash32, UnixSeconds};
use crate::layout::{Writer, tag};
use crate::manifest::Register;
use crate::refusal::steers;

/// Largest list in bytes.
pub const MAX_LIST_BYTES: usize = 256 << 20;
/// issuingDistributionPoint, content octets.
const DISTRIBUTION_POINT: &[u8] = &[0x55, 29, 28];

/// Why a file is no revocation list that could count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// Not a list.
    #[error("not a revocation list, DER or PEM, of at most {} MiB", MAX_LIST_BYTES >> 20)]
    Unreadable,
    /// By nobody whom the register names.
    #[error("the list is not signed by an issuing CA of the register")]
    OtherIssuer,
    /// Not complete or not direct.
    #[error(
        "the list is partial, indirect, or has a critical extension or a name of its distribution point that is not known here: a complete list of the issuing CA is needed, or each of those that it splits it into"
    )]
    Partial,
    /// It never ends.
    #[error("the list does not say when the next one comes")]
    NoEnd,
}

/// What an issuing CA has revoked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RevocationList {
    /// SHA-256 of its DER.
    hash: Hash32,
    issuer: Vec<u8>,
    this_update: UnixSeconds,
    next_update: UnixSeconds,
    /// Names of the one point whose certificates it covers; it covers all of the issuer's where there are none.
    points: Option<Vec<PointName>>,
    serials: HashSet<Vec<u8>>,
}

impl RevocationList {
    /// Reads a list and checks that an issuing CA of `register` signed it.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn read(register: &Register, bytes: &[u8]) -> Result<Self, ListError> {
        if bytes.len() > MAX_LIST_BYTES {
            return Err(ListError::Unreadable);
        }
        let from_pem = CertificateRevocationListDer::from_pem_slice(bytes).ok();
        let der = from_pem.as_ref().map_or(bytes, |der| der.as_ref());
        let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| ListError::Unreadable)?;
        if !rest.is_empty() {
            return Err(ListError::Unreadable);
        }
        let signed = Signed {
            bytes: list.tbs_cert_list.as_ref(),
            algorithm: &list.signature_algorithm,
            signature: &list.signature_value.data,
        };
        let by = |der: &Vec<u8>| {
            Certificate::read(der).is_ok_and(|issuer| {
                issuer.subject() == list.issuer().as_raw()
                    && issuer.key_usage & CRL_SIGN != 0
                    && issuer.key.as_ref().is_ok_and(|key| signed.is_by(key))
            })
        };
        if !register.issuers().iter().any(by) {
            return Err(ListError::OtherIssuer);
        }
        if list.tbs_cert_list.signature != list.signature_algorithm {
            return Err(ListError::Unreadable);
        }
        let mut points = None;
        let mut scopes = 0;
        for extension in list.extensions() {
            let whole = if extension.oid.as_bytes() == DISTRIBUTION_POINT {
                let scope = scope_of_list(extension.value);
                scopes += 1;
                points = scope.clone().flatten();
                scope.is_some() && scopes == 1
            } else {
                !extension.critical
            };
            if !whole {
                return Err(ListError::Partial);
            }
        }
        // An entry may be of another issuer only by a critical extension.
        let entries: Vec<_> = list.iter_revoked_certificates().collect();
        if entries
            .iter()
            .any(|entry| entry.extensions().iter().any(|e| e.critical))
        {
            return Err(ListError::Partial);
        }
        let seconds = |at: i64| UnixSeconds(u64::try_from(at).unwrap_or(0));
        let next = list.next_update().ok_or(ListError::NoEnd)?;
        Ok(Self {
            hash: Hash32::of(der),
            issuer: list.issuer().as_raw().to_vec(),
            this_update: seconds(list.last_update().timestamp()),
            next_update: seconds(next.timestamp()),
            points,
            serials: entries.iter().map(|entry| entry.raw_serial().to_vec()).collect(),
        })
    }

    /// SHA-256 of its DER, however it lies in its file.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }
    /// When the CA made it.
    pub fn this_update(&self) -> UnixSeconds {
        self.this_update
    }
    /// Until when it counts.
    pub fn next_update(&self) -> UnixSeconds {
        self.next_update
    }
    /// Certificates on it.
    pub fn len(&self) -> usize {
        self.serials.len()
    }
    /// The point whose certificates alone it covers, for people; none where it covers all of the issuer's.
    pub fn point(&self) -> Option<String> {
        self.points.as_deref().map(in_words)
    }
    fn covers(&self, holder: &Holder) -> bool {
        self.issuer == holder.issuer
            && self
                .points
                .as_ref()
                .is_none_or(|points| points.iter().any(|point| holder.points.contains(point)))
    }
    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty()
    }
}

fn in_words(points: &[PointName]) -> String {
    let one = |point: &PointName| match point {
        PointName::Uri(uri) => uri.replace(steers, "\u{fffd}"),
        PointName::Directory(_) => "a place in a directory".to_owned(),
    };
    let all: Vec<String> = points.iter().map(one).collect();
    all.join(" or ")
}

/// Which lists a party holds of a register's issuing CAs: with the time they decide which of these are asked, and what they answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListsHeld(Vec<Hash32>);

impl ListsHeld {
    /// Those; one that lies there twice is one.
    pub fn of<'l>(lists: impl IntoIterator<Item = &'l RevocationList>) -> Self {
        let mut hashes: Vec<Hash32> = lists.into_iter().map(RevocationList::hash).collect();
        hashes.sort_unstable_by_key(|hash| hash.0);
        hashes.dedup();
        Self(hashes)
    }

    /// SHA-256 of the DER of each, rising.
    pub fn hashes(&self) -> &[Hash32] {
        &self.0
    }

    /// SHA-256 of (tag `tally/v1/revocation-lists`, the hashes of all of them, rising, as one field). Whoever has the lists, which their authorities
    /// publish, computes the same.
    pub fn hash(&self) -> Hash32 {
        let all: Vec<u8> = self.0.iter().flat_map(|hash| hash.0).collect();
        Writer::new(tag::REVOCATION_LISTS).bytes(&all).sha256()
    }
}

/// Until when there are lists of every issuing CA of `register`, the newest of each counting, and of each distribution point where the CA splits its
/// list; `None`: of some CA there is none.
pub fn lists_until<'l>(
    register: &Register,
    lists: impl Iterator<Item = &'l RevocationList> + Clone,
    now: UnixSeconds,
) -> Option<UnixSeconds> {
    let until = |der: &Vec<u8>| {
        let issuer = Certificate::read(der).ok()?;
        let mut newest: Vec<&RevocationList> = Vec::new();
        for list in lists.clone() {
            if list.issuer != issuer.subject() || list.this_update > now {
                continue;
            }
            let when = |of: &RevocationList| (of.this_update, of.next_update);
            match newest.iter_mut().find(|known| known.points == list.points) {
                Some(known) if when(known) < when(list) => *known = list,
                Some(_) => {}
                None => newest.push(list),
            }
        }
        newest.into_iter().map(|list| list.next_update).min()
    };
    let all: Option<Vec<UnixSeconds>> = register.issuers().iter().map(until).collect();
    all?.into_iter().min()
}

/// Whether none of `lists`, of which the newest that covers the certificate counts, names it.
///
/// # Errors
/// [`CardError::NoList`], [`CardError::OtherLists`], [`CardError::StaleList`], [`CardError::Revoked`].
pub fn check_revocation<'l>(
    lists: impl IntoIterator<Item = &'l RevocationList>,
    holder: &Holder,
    now: UnixSeconds,
) -> Result<(), CardError> {
    let lists = lists
        .into_iter()
        .filter(|list| list.issuer == holder.issuer && list.this_update <= now);
    let mut others = false;
    let covering = lists.filter(|list| {
        others |= !list.covers(holder);
        list.covers(holder)
    });
    let newest = covering.max_by_key(|list| (list.this_update, list.next_update));
    let newest = match newest {
        Some(newest) => newest,
        None if others && !holder.points.is_empty() => {
            let at = in_words(&holder.points);
            return Err(CardError::OtherLists { at });
        }
        None => return Err(CardError::NoList),
    };
    // What is revoked stays revoked, however old the list.
    if newest.serials.contains(&holder.serial) {
        return Err(CardError::Revoked);
    }
    if newest.next_update < now {
        return Err(CardError::StaleList {
            ended: newest.next_update,
        });
    }
    Ok(())
}
