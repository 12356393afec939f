//! One certificate is one string of octets.

use super::*;
use crate::fixture::der;

#[test]
fn a_certificate_has_no_second_encoding() {
    let mut world = world();
    let mut cards = world.cards.take().expect("cards");
    // One whose signature ends with a bit that is 0: it could be called unused.
    let certificate = std::iter::repeat_with(|| cards.card(&good()).certificate)
        .find(|der| der.last().is_some_and(|last| last & 1 == 0))
        .expect("every other one");
    let tried = |der: &[u8]| check_certificate(register(&world), der, &at(OPENS)).map(drop);
    assert_eq!(tried(&certificate), Ok(()));
    let all = der::elements(&certificate);
    let [signed, algorithm, signature] = all.as_slice() else {
        panic!("a certificate")
    };
    let whole = |algorithm: &[u8], signature: &[u8], more: &[u8]| {
        der::sequence(&[
            signed.clone(),
            algorithm.to_vec(),
            signature.to_vec(),
            more.to_vec(),
        ])
    };
    assert_eq!(whole(algorithm, signature, &[]), certificate);
    /// With the length in one octet more.
    fn long(der: &[u8]) -> Vec<u8> {
        let octets = match der[1] {
            0x82 => [&[der[0], 0x83, 0][..], &der[2..]],
            0x81 => [&[der[0], 0x82, 0][..], &der[2..]],
            _ => [&[der[0], 0x81][..], &der[1..]],
        };
        octets.concat()
    }
    let with = |der: &[u8], at: usize, octet: u8| {
        let mut altered = der.to_vec();
        altered[at] = octet;
        altered
    };
    // After tag and length.
    let unused = 2;
    assert_eq!((signature[0], signature[unused]), (3, 0));
    let id = &der::elements(algorithm)[0];
    for (what, altered) in [
        ("bytes after it", [&certificate[..], &[5, 0]].concat()),
        ("bytes after the signature", whole(algorithm, signature, &[5, 0])),
        ("many", whole(algorithm, signature, &[0; 3000])),
        (
            "an identifier's tag",
            whole(&with(algorithm, 2, 7), signature, &[]),
        ),
        (
            "another field of the algorithm",
            whole(
                &der::sequence(&[id.clone(), vec![5, 0], vec![5, 0]]),
                signature,
                &[],
            ),
        ),
        (
            "an identifier's length",
            whole(&der::sequence(&[long(id)]), signature, &[]),
        ),
        ("unused bits", whole(algorithm, &with(signature, unused, 1), &[])),
        ("the algorithm's length", whole(&long(algorithm), signature, &[])),
        ("the signature's length", whole(algorithm, &long(signature), &[])),
        ("its own length", long(&certificate)),
        (
            "a constructed signature",
            whole(algorithm, &with(signature, 0, 0x23), &[]),
        ),
    ] {
        assert_ne!(altered, certificate, "{what}");
        let refused = tried(&altered).expect_err(what);
        assert_eq!(refused.reason(), Reason::CardMalformed, "{what}: {refused}");
    }
}
