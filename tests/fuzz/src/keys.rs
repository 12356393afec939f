//! What officials type, the sealed key file and kit, and the key holder's messages.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use tally_party::holder::message::{Reply, Request, State};
use tally_party::officials::{CeremonyId, Label, Sealed, Share, Terms, Typing, UnlockKey, Use, sheet};
use tally_proto::ids::Role;

fn ceremony() -> (Vec<Share>, Vec<Sealed>) {
    let mut rng = ChaCha8Rng::from_seed([3; 32]);
    let key = UnlockKey::generate(&mut rng);
    let terms = Terms::new(3, 2).expect("terms");
    let (shares, public) = key.split(Role::P2, terms, &mut rng).expect("split");
    let secrets: [(Label, &[u8]); 2] = [(Label::Signing, &[1; 32]), (Label::Config, b"party = 2\n")];
    let files = [Use::Keys, Use::Kit].map(|of| Sealed::seal(of, &public, &key, &secrets, &mut rng));
    (shares, files.into())
}

/// A share's text: read back, it gives the same text; sheets and single lines are taken or refused.
pub(crate) fn share_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut typing = Typing::default();
    for line in text.lines() {
        let before = typing.next_line();
        let taken = typing.line(line).is_ok();
        assert_eq!(typing.next_line(), before + usize::from(taken));
    }
    let _ = typing.finish();
    let _ = sheet::read(text);
    if let Ok(share) = Share::parse(text) {
        let again = Share::parse(&share.text()).expect("what is written is read");
        assert_eq!(*again.to_bytes(), *share.to_bytes());
        assert!((1..=share.terms().officials()).contains(&share.number()));
    }
}

/// A share's text, in capitals and as a sheet.
pub(crate) fn share_text_seeds() -> Vec<Vec<u8>> {
    let (shares, _) = ceremony();
    let texts = shares.iter().map(|share| share.text().as_bytes().to_vec());
    texts
        .chain([sheet::text("Agency", &shares[0]).as_bytes().to_vec()])
        .collect()
}

/// A sealed key file or kit: one form only, and nothing opens under another key.
pub(crate) fn sealed_keys(data: &[u8]) {
    if let Ok(sealed) = Sealed::decode(data) {
        assert!(sealed.encode() == data, "one form only");
        let other = UnlockKey::generate(&mut ChaCha8Rng::from_seed([4; 32]));
        assert!(sealed.open(&other, Label::Signing).is_err());
    }
}

/// A key file and a kit.
pub(crate) fn sealed_keys_seeds() -> Vec<Vec<u8>> {
    ceremony().1.iter().map(Sealed::encode).collect()
}

/// Requests to the key holder and its replies.
pub(crate) fn holder_message(data: &[u8]) {
    if let Ok(request) = Request::decode(data) {
        assert!(*request.encode() == data, "one form only");
    }
    match Reply::decode(data) {
        // Words that are no UTF-8 are shown with marks in their place.
        Ok(Reply::Refused(_)) | Err(_) => {}
        Ok(reply) => assert!(*reply.encode() == data, "one form only"),
    }
}

/// One of each.
pub(crate) fn holder_message_seeds() -> Vec<Vec<u8>> {
    let (mut shares, _) = ceremony();
    let ceremony = CeremonyId([1, 2, 3, 4]);
    let share = shares.pop().expect("three");
    let requests = [
        Request::State,
        Request::Share(share),
        Request::Key {
            party: Role::P1,
            ceremony,
        },
        Request::Lock,
    ];
    let state = State {
        party: Role::P1,
        ceremony,
        terms: Terms::new(5, 3).expect("terms"),
        given: 5,
        unlocked: false,
    };
    let replies = [Reply::State(state), Reply::Refused("no".into())];
    requests
        .iter()
        .map(|request| request.encode().to_vec())
        .chain(replies.iter().map(|reply| reply.encode().to_vec()))
        .collect()
}
