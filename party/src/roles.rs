//! Who calls: the role of a peer certificate, and what each role may ask for.
//!
//! TLS has already proved that the caller holds the key of a certificate that chains to one of the configured authorities. Here the role that
//! the certificate names is believed only if the role's own authority issued it, and each method says which roles it serves.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::json;
use tally_proto::guard::{self, Caller};
use tally_proto::ids::{Hash32, Role, StationId, UnixSeconds};
use tally_proto::pki::{self, PeerRole, PkiError, Trust, system_now};
use tally_proto::reason::Reason;
use tally_proto::refusal::Refusal;
use tonic::Request;

use crate::journal::Event;
use crate::replaced::Replaced;
use crate::witness::Witness;

/// What a method is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Another party.
    Party,
    /// This party's own operator.
    Operator,
    /// The coordinator.
    Coordinator,
    /// The coordinator or this party's operator.
    CoordinatorOrOperator,
    /// A registrar.
    Registrar,
}

impl Needs {
    fn words(self) -> &'static str {
        match self {
            Needs::Party => "another party",
            Needs::Operator => "this party's operator",
            Needs::Coordinator => "the coordinator",
            Needs::CoordinatorOrOperator => "the coordinator or this party's operator",
            Needs::Registrar => "a registrar",
        }
    }

    fn admits(self, own: Role, role: &PeerRole) -> bool {
        match role {
            PeerRole::Party(party) => self == Needs::Party && *party != own,
            PeerRole::Operator(party) => {
                matches!(self, Needs::Operator | Needs::CoordinatorOrOperator) && *party == own
            }
            PeerRole::Coordinator => matches!(self, Needs::Coordinator | Needs::CoordinatorOrOperator),
            PeerRole::Registrar(_) => self == Needs::Registrar,
            PeerRole::Station(_) => false,
        }
    }
}

/// Certificates seen lately are remembered up to this many, so that a busy connection does not verify its own on every request.
const REMEMBERED: usize = 1024;

/// Connections of a party, which has one for each session, or of the coordinator, which runs many commands at once.
const MANY_CONNECTIONS: usize = 256;
/// Connections of one station, one registrar or an operator.
const FEW_CONNECTIONS: usize = 32;

/// Tells roles from certificates.
#[derive(Debug)]
pub struct Roles {
    own: Role,
    trust: Trust,
    known: Mutex<HashMap<Hash32, Read>>,
    witness: Option<Witness>,
    replaced: Replaced,
}

/// What a certificate says that its role's authority issued.
#[derive(Clone, Debug)]
struct Read {
    role: PeerRole,
    authority: Hash32,
    begins: UnixSeconds,
    ends: UnixSeconds,
}

impl Roles {
    /// For party `own`, believing what `trust` says.
    pub fn new(own: Role, trust: Trust) -> Self {
        Roles {
            own,
            trust,
            known: Mutex::default(),
            witness: None,
            replaced: Replaced::default(),
        }
    }

    /// Remembers the newest certificates so far.
    pub(crate) fn remembering(self, replaced: Replaced) -> Self {
        Roles { replaced, ..self }
    }

    /// The newest certificates.
    pub(crate) fn replaced(&self) -> &Replaced {
        &self.replaced
    }

    /// Has `witness` write down who asked for what its role may not.
    pub fn seen_by(self, witness: Witness) -> Self {
        Roles {
            witness: Some(witness),
            ..self
        }
    }

    /// The role of the caller; `None` without a certificate (the public listener).
    ///
    /// # Errors
    /// `role.refused`: the certificate names no role, several, or one that its issuer may not give. `certificate.expired`: it has ended since the
    /// connection came about. `certificate.replaced`: a newer one of the role has been known for an hour.
    pub fn of<T>(&self, request: &Request<T>) -> Result<Option<PeerRole>, Refusal> {
        let Some(leaf) = guard::certificate(request) else {
            return Ok(None);
        };
        let read = self.read(&leaf)?;
        // By the clock that TLS went by when the connection came about.
        let now = system_now();
        if now > read.ends {
            let (holder, ended) = (read.role.to_string(), read.ends);
            return Err(Refusal::new(
                Reason::CertificateExpired,
                PkiError::Expired { holder, ended },
            ));
        }
        self.replaced
            .shown(&read.role, read.authority, read.begins, now)
            .map_err(|older| Refusal::new(Reason::CertificateReplaced, older))?;
        Ok(Some(read.role))
    }

    /// Whose connections and requests those under this certificate are, if it stands for anybody.
    pub(crate) fn caller(&self, leaf: &[u8]) -> Option<Caller> {
        let Read {
            role,
            authority,
            begins,
            ..
        } = self.read(leaf).ok()?;
        // An older one is nobody's: it takes no place of the newer one's holder.
        let now = system_now();
        self.replaced.shown(&role, authority, begins, now).ok()?;
        let connections = match role {
            PeerRole::Party(_) | PeerRole::Coordinator => MANY_CONNECTIONS,
            PeerRole::Operator(_) | PeerRole::Registrar(_) | PeerRole::Station(_) => FEW_CONNECTIONS,
        };
        let name = role.to_string().into();
        Some(Caller { name, connections })
    }

    fn read(&self, leaf: &[u8]) -> Result<Read, Refusal> {
        let name = Hash32::of(leaf);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&name) {
            return Ok(known.clone());
        }
        drop(known);
        let refused = |error| Refusal::new(Reason::RoleRefused, error);
        let (role, anchor) = self.trust.role_of(leaf).map_err(refused)?;
        let (begins, ends) = pki::life(leaf).map_err(refused)?;
        let read = Read {
            role,
            authority: anchor.fingerprint(),
            begins,
            ends,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(name, read.clone());
        Ok(read)
    }

    /// The caller's role, if it is one that `needs` names.
    ///
    /// # Errors
    /// `role.refused`, naming the role that came and the one that is needed.
    pub fn require<T>(&self, request: &Request<T>, needs: Needs) -> Result<PeerRole, Refusal> {
        let refused = |who: &str| {
            Refusal::new(
                Reason::RoleRefused,
                format_args!("this is for {}; the caller is {who}", needs.words()),
            )
        };
        match self.of(request)? {
            Some(role) if needs.admits(self.own, &role) => Ok(role),
            Some(role) => {
                if let Some(witness) = &self.witness {
                    let facts = json!({ "caller": role.to_string(), "needs": needs.words() });
                    witness.record(Event::RoleRefused, facts);
                }
                Err(refused(&role.to_string()))
            }
            None => Err(refused("without a certificate: use the peer address")),
        }
    }

    /// The other party that calls.
    ///
    /// # Errors
    /// `role.refused`: the caller is no other party.
    pub fn party<T>(&self, request: &Request<T>) -> Result<Role, Refusal> {
        match self.require(request, Needs::Party)? {
            PeerRole::Party(party) => Ok(party),
            other => Err(Refusal::new(
                Reason::RoleRefused,
                format_args!("{other} is no party"),
            )),
        }
    }

    /// The station that calls, if it is one: its certificate must name the station that its ballots name.
    ///
    /// # Errors
    /// `role.refused`, as [`Roles::of`].
    pub fn station<T>(&self, request: &Request<T>) -> Result<Option<StationId>, Refusal> {
        Ok(match self.of(request)? {
            Some(PeerRole::Station(station)) => Some(station),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_need_admits_its_roles_only() {
        let all = [
            PeerRole::Party(Role::P1),
            PeerRole::Party(Role::P2),
            PeerRole::Operator(Role::P1),
            PeerRole::Operator(Role::P2),
            PeerRole::Coordinator,
            PeerRole::Registrar("post".into()),
            PeerRole::Station(StationId(1)),
        ];
        let admitted = |needs: Needs| -> Vec<String> {
            all.iter()
                .filter(|role| needs.admits(Role::P1, role))
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(admitted(Needs::Party), ["party:2"]);
        assert_eq!(admitted(Needs::Operator), ["operator:1"]);
        assert_eq!(admitted(Needs::Coordinator), ["coordinator"]);
        assert_eq!(
            admitted(Needs::CoordinatorOrOperator),
            ["operator:1", "coordinator"]
        );
        assert_eq!(admitted(Needs::Registrar), ["registrar:post"]);
    }
}
