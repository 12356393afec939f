//! Certificates: each agency runs a small authority of its own, and a role is believed only from the authority it belongs to.
//!
//! Roles are URI names in a certificate. Party i's authority issues its server certificate (`tally:party:i`) and its operators'
//! (`tally:operator:i`); the coordinator's issues the coordinator's, registrars' and stations'. A certificate lives for
//! [`LEAF_DAYS`] days and is renewed under the same authority, which changes nothing in a manifest or an identity: who may do what in an election
//! is fixed there, and an authority that is no longer trusted is taken out of the configuration.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use zeroize::Zeroizing;

use crate::ids::{Hash32, Role, RoleExt as _, StationId, UnixSeconds};

/// Largest certificate in PEM, in bytes.
pub const MAX_PEM_BYTES: usize = 16 << 10;

/// Longest name of a registrar, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Days that a certificate of a party, an operator, the coordinator, a registrar or a station lives unless told otherwise: what public authorities
/// allowed until 2026. Renewing is practised between two elections, not once in a career.
pub const LEAF_DAYS: u32 = 398;

/// Most days that one may live.
pub const MAX_LEAF_DAYS: u32 = 825;

/// Days that an authority lives. Identities and manifests hold it, so it outlives every election it signs for; no program here looks at its
/// end (a trust anchor is trusted because it was handed over).
const AUTHORITY_DAYS: u32 = 30 * 365;

/// Clocks of those who check a certificate may be behind the one that made it by this, seconds.
const SKEW_S: u64 = 3600;

const DAY_S: u64 = 24 * 3600;

/// From when until when a certificate is believed, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    from: UnixSeconds,
    until: UnixSeconds,
}

impl Life {
    /// From `from` to `until`.
    pub fn between(from: UnixSeconds, until: UnixSeconds) -> Self {
        Self { from, until }
    }

    /// From an hour ago, by the system's clock, for `days` from now.
    pub fn of_days(days: u32) -> Self {
        let now = system_now().get();
        Self {
            from: UnixSeconds(now.saturating_sub(SKEW_S)),
            until: UnixSeconds(now.saturating_add(u64::from(days) * DAY_S)),
        }
    }

    /// The same, but later than a certificate that is believed from `other` on: whoever meets both tells which one is the newer.
    #[must_use]
    pub fn after(self, other: UnixSeconds) -> Self {
        Self {
            from: self.from.max(UnixSeconds(other.get().saturating_add(1))),
            ..self
        }
    }

    /// From an hour ago for [`LEAF_DAYS`].
    pub fn of_leaf() -> Self {
        Self::of_days(LEAF_DAYS)
    }

    fn set(self, params: &mut CertificateParams) {
        let at = |second: UnixSeconds| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second.get().min(MAX_SECOND))
        };
        params.not_before = at(self.from);
        params.not_after = at(self.until);
    }
}

/// The last second of the year 9999, the last one that X.509 can write.
const MAX_SECOND: u64 = 253_402_300_799;

/// The system's clock, which TLS goes by.
pub fn system_now() -> UnixSeconds {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixSeconds(since.map_or(0, |since| since.as_secs()))
}

/// Why a certificate or its role was refused.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making or signing failed.
    #[error("certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// Not one PEM certificate.
    #[error("not one PEM certificate of at most {MAX_PEM_BYTES} bytes")]
    BadPem,
    /// Not X.509.
    #[error("not a readable X.509 certificate")]
    Unreadable,
    /// A certificate given as authority is none.
    #[error("the certificate is not one of an authority (basic constraints)")]
    NotAnAuthority,
    /// No role, or several.
    #[error("the certificate names {0} roles, exactly one is needed")]
    Roles(usize),
    /// A role this version does not know.
    #[error("{0:?} is not a role")]
    UnknownRole(String),
    /// Not issued by the role's own authority.
    #[error("the certificate says {0}, but was not issued by an authority that may issue this role")]
    WrongAuthority(PeerRole),
    /// Its time is over.
    #[error("the certificate of {holder} ended at {ended}")]
    Expired {
        /// Whose, as it says itself.
        holder: String,
        /// Its last second.
        ended: UnixSeconds,
    },
    /// A DNS name or address is malformed.
    #[error("{0:?} is not a host name or an IP address")]
    BadHost(String),
}

/// Who a peer certificate stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum PeerRole {
    /// The server of a party.
    Party(Role),
    /// An operator of a party.
    Operator(Role),
    /// The coordinator.
    Coordinator,
    /// A registrar, by name.
    Registrar(String),
    /// A polling station.
    Station(StationId),
}

impl PeerRole {
    /// The URI name that states this role.
    pub fn uri(&self) -> String {
        match self {
            Self::Party(role) => format!("tally:party:{}", role.number()),
            Self::Operator(role) => format!("tally:operator:{}", role.number()),
            Self::Coordinator => "tally:coordinator".into(),
            Self::Registrar(name) => format!("tally:registrar:{name}"),
            Self::Station(id) => format!("tally:station:{id}"),
        }
    }
}

impl fmt::Display for PeerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri().trim_start_matches("tally:"))
    }
}

impl FromStr for PeerRole {
    type Err = PkiError;
    fn from_str(uri: &str) -> Result<Self, PkiError> {
        let unknown = || PkiError::UnknownRole(uri.chars().take(80).collect());
        let rest = uri.strip_prefix("tally:").ok_or_else(unknown)?;
        let party = |text: &str| text.parse().ok().and_then(Role::from_index).ok_or_else(unknown);
        let role = match rest.split_once(':') {
            None if rest == "coordinator" => Self::Coordinator,
            Some(("party", number)) => Self::Party(party(number)?),
            Some(("operator", number)) => Self::Operator(party(number)?),
            Some(("registrar", name)) if is_registrar_name(name) => Self::Registrar(name.into()),
            Some(("station", id)) => Self::Station(id.parse().map_err(|_| unknown())?),
            _ => return Err(unknown()),
        };
        // One spelling only: "tally:party:01" is not P1.
        if role.uri() == uri {
            Ok(role)
        } else {
            Err(unknown())
        }
    }
}

/// Registrars' names are slugs, so that they can stand in a URI and in a file name.
pub(crate) fn is_registrar_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A certificate with its private key, as PEM. The key is zeroised on drop.
pub struct Leaf {
    /// The certificate.
    pub cert_pem: String,
    /// The private key, PKCS #8.
    pub key_pem: Zeroizing<String>,
}

impl Leaf {
    /// The last second at which the certificate is believed.
    ///
    /// # Errors
    /// [`PkiError`]: the text holds no certificate.
    pub fn ends(&self) -> Result<UnixSeconds, PkiError> {
        Ok(Shown::of(&self.cert_pem)?.ends)
    }
}

/// A certificate as whoever shows it knows it: whose it is and until when it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    holder: String,
    begins: UnixSeconds,
    ends: UnixSeconds,
}

impl Shown {
    /// Of a certificate in PEM.
    ///
    /// # Errors
    /// [`PkiError`]: the text holds no certificate.
    pub fn of(cert_pem: &str) -> Result<Self, PkiError> {
        let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|_| PkiError::BadPem)?;
        let certificate = parse(&der)?;
        let name = certificate
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        Ok(Self {
            holder: name
                .unwrap_or("nobody")
                .chars()
                .take(MAX_NAME_BYTES + 16)
                .collect(),
            begins: begin_of(&certificate),
            ends: end_of(&certificate),
        })
    }

    /// The first second at which it is believed.
    pub fn begins(&self) -> UnixSeconds {
        self.begins
    }

    /// The last second at which it is believed.
    pub fn ends(&self) -> UnixSeconds {
        self.ends
    }

    /// Refuses one whose time is over at `now`.
    ///
    /// # Errors
    /// [`PkiError::Expired`], naming whose it is.
    pub fn check(&self, now: UnixSeconds) -> Result<(), PkiError> {
        if now <= self.ends {
            return Ok(());
        }
        Err(PkiError::Expired {
            holder: self.holder.clone(),
            ended: self.ends,
        })
    }
}

/// The first second at which a certificate is believed.
fn begin_of(certificate: &X509Certificate<'_>) -> UnixSeconds {
    UnixSeconds(u64::try_from(certificate.validity().not_before.timestamp()).unwrap_or(0))
}

/// The last second at which a certificate is believed.
fn end_of(certificate: &X509Certificate<'_>) -> UnixSeconds {
    // Before 1970 is as over as in 1970.
    UnixSeconds(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Leaf({} bytes of certificate, secret key)",
            self.cert_pem.len()
        )
    }
}

/// A certificate authority with its key.
pub struct Authority {
    cert_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(secret key)")
    }
}

impl Authority {
    /// A fresh authority named `name` (P-256; randomness of the operating system).
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn generate(name: &str) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Life::of_days(AUTHORITY_DAYS).set(&mut params);
        let cert_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            cert_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// From its two PEM files.
    ///
    /// # Errors
    /// Not a certificate of an authority, or not a key.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        Anchor::from_pem(cert_pem)?;
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self {
            cert_pem: cert_pem.into(),
            issuer: Issuer::from_ca_cert_pem(cert_pem, key)?,
        })
    }

    /// The certificate, public.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The private key, PKCS #8, for its secret file.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Makes a key and issues its certificate for `role`, for [`LEAF_DAYS`]; `hosts` are the DNS names and IP addresses it serves under (none
    /// for a client).
    ///
    /// # Errors
    /// A malformed host, or [`PkiError::Make`].
    pub fn issue(&self, role: &PeerRole, hosts: &[&str]) -> Result<Leaf, PkiError> {
        self.issue_for(role, hosts, Life::of_leaf())
    }

    /// Like [`Authority::issue`], for another time.
    ///
    /// # Errors
    /// A malformed host, or [`PkiError::Make`].
    pub fn issue_for(&self, role: &PeerRole, hosts: &[&str], life: Life) -> Result<Leaf, PkiError> {
        let key = KeyPair::generate()?;
        let cert = leaf_params(Some(role), hosts, life)?.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            cert_pem: cert.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Makes a key and issues its certificate for a server under `hosts` that stands for no role: to whom it calls it is nobody. A party whose
    /// keys are locked answers with it.
    ///
    /// # Errors
    /// A malformed host, or [`PkiError::Make`].
    pub fn issue_front(&self, hosts: &[&str], life: Life) -> Result<Leaf, PkiError> {
        let key = KeyPair::generate()?;
        let cert = leaf_params(None, hosts, life)?.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            cert_pem: cert.pem(),
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }

    /// Issues a certificate for the key of a signing request. Role and hosts are the authority's decision: whatever else the request
    /// asks for is ignored.
    ///
    /// # Errors
    /// A malformed request or host, a request not signed by its own key, or [`PkiError::Make`].
    pub fn sign_request(
        &self,
        request_pem: &str,
        role: &PeerRole,
        hosts: &[&str],
        life: Life,
    ) -> Result<String, PkiError> {
        if request_pem.len() > MAX_PEM_BYTES {
            return Err(PkiError::BadPem);
        }
        let mut request = CertificateSigningRequestParams::from_pem(request_pem)?;
        request.params = leaf_params(Some(role), hosts, life)?;
        Ok(request.signed_by(&self.issuer)?.pem())
    }
}

/// A fresh key and the signing request (PEM) for it.
///
/// # Errors
/// [`PkiError::Make`].
pub fn request() -> Result<(String, Zeroizing<String>), PkiError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(&key)?.pem()?;
    Ok((request, Zeroizing::new(key.serialize_pem())))
}

fn leaf_params(role: Option<&PeerRole>, hosts: &[&str], life: Life) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    life.set(&mut params);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        role.map_or("locked".into(), PeerRole::to_string),
    );
    let bad_host = |host: &str| PkiError::BadHost(host.chars().take(80).collect());
    if let Some(uri) = role.map(PeerRole::uri) {
        params
            .subject_alt_names
            .push(SanType::URI(uri.as_str().try_into().map_err(|_| bad_host(&uri))?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if is_host_name(host) => SanType::DnsName((*host).try_into().map_err(|_| bad_host(host))?),
            Err(_) => return Err(bad_host(host)),
        });
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    if !hosts.is_empty() {
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn is_host_name(host: &str) -> bool {
    (1..=253).contains(&host.len())
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// The certificate of an authority, to check others' certificates with.
#[derive(Clone, PartialEq, Eq)]
pub struct Anchor {
    der: CertificateDer<'static>,
    pem: String,
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchor({})", self.fingerprint().short())
    }
}

impl Anchor {
    /// From PEM: exactly one certificate, of an authority, signed by itself.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(PkiError::BadPem);
        }
        let mut certs = CertificateDer::pem_slice_iter(pem.as_bytes());
        let (Some(Ok(der)), None) = (certs.next(), certs.next()) else {
            return Err(PkiError::BadPem);
        };
        let cert = parse(&der)?;
        if !cert.is_ca() || cert.verify_signature(None).is_err() {
            return Err(PkiError::NotAnAuthority);
        }
        Ok(Self { pem: pem.into(), der })
    }

    /// The PEM text.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of the certificate.
    pub fn fingerprint(&self) -> Hash32 {
        Hash32::of(&self.der)
    }

    fn issued(&self, leaf: &X509Certificate<'_>) -> bool {
        parse(&self.der).is_ok_and(|ca| {
            leaf.issuer().as_raw() == ca.subject().as_raw()
                && leaf.verify_signature(Some(ca.public_key())).is_ok()
        })
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        _ => Err(PkiError::Unreadable),
    }
}

/// Which authority may issue which role, for one server.
#[derive(Clone, Default, Debug)]
pub struct Trust {
    parties: [Vec<Anchor>; 3],
    coordinators: Vec<Anchor>,
}

impl Trust {
    /// Nobody is trusted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts `anchor` for party `role`'s server and operators.
    #[must_use]
    pub fn party(mut self, role: Role, anchor: Anchor) -> Self {
        self.parties[role.slot()].push(anchor);
        self
    }

    /// Trusts `anchor` for a coordinator and its registrars and stations.
    #[must_use]
    pub fn coordinator(mut self, anchor: Anchor) -> Self {
        self.coordinators.push(anchor);
        self
    }

    /// All authorities as one PEM text, for a TLS listener's list of client authorities.
    pub fn pem(&self) -> String {
        let anchors = self.parties.iter().flatten().chain(&self.coordinators);
        anchors
            .map(|anchor| anchor.pem.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The role that a peer's certificate stands for, and the authority that says so. TLS has proved possession of its key; this
    /// decides whether the role is believed: it must be the certificate's only role, and its own authority must have issued it.
    ///
    /// # Errors
    /// [`PkiError::Unreadable`], [`PkiError::Roles`], [`PkiError::UnknownRole`], [`PkiError::WrongAuthority`].
    pub fn role_of(&self, certificate_der: &[u8]) -> Result<(PeerRole, &Anchor), PkiError> {
        let cert = parse(certificate_der)?;
        let role = stated_role(&cert)?;
        let anchors = match &role {
            PeerRole::Party(party) | PeerRole::Operator(party) => &self.parties[party.slot()],
            PeerRole::Coordinator | PeerRole::Registrar(_) | PeerRole::Station(_) => &self.coordinators,
        };
        match anchors.iter().find(|anchor| anchor.issued(&cert)) {
            Some(anchor) if !cert.is_ca() => Ok((role, anchor)),
            _ => Err(PkiError::WrongAuthority(role)),
        }
    }
}

/// The first and the last second at which a certificate is believed.
///
/// # Errors
/// [`PkiError::Unreadable`].
pub fn life(certificate_der: &[u8]) -> Result<(UnixSeconds, UnixSeconds), PkiError> {
    let certificate = parse(certificate_der)?;
    Ok((begin_of(&certificate), end_of(&certificate)))
}

fn stated_role(cert: &X509Certificate<'_>) -> Result<PeerRole, PkiError> {
    let names = cert
        .extensions()
        .iter()
        .filter_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
    let uris: Vec<&str> = names
        .flatten()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    match uris.as_slice() {
        [uri] => uri.parse(),
        other => Err(PkiError::Roles(other.len())),
    }
}

#[cfg(test)]
mod tests;
