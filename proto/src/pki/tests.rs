use super::*;

fn der(pem: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .expect("pem")
        .to_vec()
}

#[test]
fn a_role_is_believed_only_from_its_own_authority() {
    let party1 = Authority::generate("Agency one").expect("made");
    let party2 = Authority::generate("Agency two").expect("made");
    let commission = Authority::generate("Commission").expect("made");
    let anchor = |a: &Authority| Anchor::from_pem(a.cert_pem()).expect("anchor");
    let trust = Trust::new()
        .party(Role::P1, anchor(&party1))
        .party(Role::P2, anchor(&party2))
        .coordinator(anchor(&commission));

    let good = [
        (&party1, PeerRole::Party(Role::P1)),
        (&party1, PeerRole::Operator(Role::P1)),
        (&party2, PeerRole::Party(Role::P2)),
        (&commission, PeerRole::Coordinator),
        (&commission, PeerRole::Registrar("letters".into())),
        (&commission, PeerRole::Station(StationId(7))),
    ];
    for (authority, role) in good {
        let leaf = authority
            .issue(&role, &["localhost", "127.0.0.1"])
            .expect("issued");
        let (seen, by) = trust.role_of(&der(&leaf.cert_pem)).expect("believed");
        assert_eq!((seen, by), (role, &anchor(authority)));
    }

    let bad = [
        (&party1, PeerRole::Party(Role::P2)),
        (&party1, PeerRole::Coordinator),
        (&party1, PeerRole::Station(StationId(1))),
        (&party2, PeerRole::Operator(Role::P1)),
        (&commission, PeerRole::Party(Role::P1)),
        (&commission, PeerRole::Operator(Role::P3)),
    ];
    for (authority, role) in bad {
        let leaf = authority.issue(&role, &[]).expect("issued");
        assert!(matches!(trust.role_of(&der(&leaf.cert_pem)), Err(PkiError::WrongAuthority(r)) if r == role));
    }
}

#[test]
fn an_authority_of_the_same_name_is_another() {
    let real = Authority::generate("Agency one").expect("made");
    let fake = Authority::generate("Agency one").expect("made");
    let trust = Trust::new().party(Role::P1, Anchor::from_pem(real.cert_pem()).expect("anchor"));
    let leaf = fake.issue(&PeerRole::Party(Role::P1), &[]).expect("issued");
    assert!(matches!(
        trust.role_of(&der(&leaf.cert_pem)),
        Err(PkiError::WrongAuthority(_))
    ));
}

#[test]
fn a_request_gets_the_authoritys_role_not_its_own() {
    let commission = Authority::generate("Commission").expect("made");
    let trust = Trust::new().coordinator(Anchor::from_pem(commission.cert_pem()).expect("anchor"));
    let (csr, key) = request().expect("made");
    assert!(key.contains("PRIVATE KEY"));
    let cert = commission
        .sign_request(&csr, &PeerRole::Station(StationId(3)), &[], Life::of_leaf())
        .expect("signed");
    assert_eq!(
        trust.role_of(&der(&cert)).expect("believed").0,
        PeerRole::Station(StationId(3))
    );
    assert!(
        commission
            .sign_request("no request", &PeerRole::Coordinator, &[], Life::of_leaf())
            .is_err()
    );
}

#[test]
fn an_authority_survives_its_files() {
    let made = Authority::generate("Agency one").expect("made");
    let read = Authority::from_pem(made.cert_pem(), &made.key_pem()).expect("read");
    let trust = Trust::new().party(Role::P1, Anchor::from_pem(made.cert_pem()).expect("anchor"));
    let leaf = read
        .issue(&PeerRole::Party(Role::P1), &["party-1.example"])
        .expect("issued");
    assert!(trust.role_of(&der(&leaf.cert_pem)).is_ok());
    assert!(!format!("{made:?}{leaf:?}").contains("BEGIN"));
}

#[test]
fn anchors_must_be_authorities() {
    let authority = Authority::generate("Agency one").expect("made");
    let leaf = authority.issue(&PeerRole::Party(Role::P1), &[]).expect("issued");
    assert!(matches!(
        Anchor::from_pem(&leaf.cert_pem),
        Err(PkiError::NotAnAuthority)
    ));
    assert!(matches!(Anchor::from_pem("no pem"), Err(PkiError::BadPem)));
    let two = format!("{0}{0}", authority.cert_pem());
    assert!(matches!(Anchor::from_pem(&two), Err(PkiError::BadPem)));
    let own = der(authority.cert_pem());
    let trust = Trust::new().party(Role::P1, Anchor::from_pem(authority.cert_pem()).expect("anchor"));
    assert!(matches!(trust.role_of(&own), Err(PkiError::Roles(0))));
    assert!(matches!(trust.role_of(&own[..50]), Err(PkiError::Unreadable)));
}

#[test]
fn roles_have_one_spelling() {
    for good in [
        "tally:party:1",
        "tally:operator:3",
        "tally:coordinator",
        "tally:registrar:sms",
        "tally:station:12",
    ] {
        assert_eq!(good.parse::<PeerRole>().expect(good).uri(), good);
    }
    for bad in [
        "tally:party:0",
        "tally:party:4",
        "tally:party:01",
        "tally:party:+1",
        "party:1",
        "tally:station:",
        "tally:registrar:",
        "tally:registrar:A",
        "tally:coordinator:1",
        "tally:station:4294967296",
        "",
    ] {
        assert!(bad.parse::<PeerRole>().is_err(), "{bad}");
    }
}

#[test]
fn bad_hosts_are_refused() {
    let authority = Authority::generate("Agency one").expect("made");
    for host in ["", "a b", "ex\u{e4}mple.org", "https://x"] {
        assert!(
            matches!(
                authority.issue(&PeerRole::Coordinator, &[host]),
                Err(PkiError::BadHost(_))
            ),
            "{host}"
        );
    }
}
