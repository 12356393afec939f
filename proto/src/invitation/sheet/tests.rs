use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::fixture::{Shape, World};
use crate::ids::{BoxId, VoterIndex};
use crate::invitation::{Credential, Invitation, Letter, Message};

fn world() -> World {
    crate::connect::install_tls_provider();
    World::new(Shape::default())
}

fn whole(world: &World) -> Invitation {
    let hash = world.manifest.hash();
    Invitation::new(&hash, BoxId(1), VoterIndex(2), Credential::new(77))
}

fn hostile() -> Addressee {
    Addressee {
        reference: "O'Hara, <b onload=\"x\">Scarlett</b> & son".to_owned(),
        address: vec![
            "1 <script>alert(1)</script> Street".to_owned(),
            "\u{202e}Atlanta\u{7}".to_owned(),
        ],
        languages: vec!["de-AT".to_owned()],
    }
}

#[test]
fn a_sheet_has_code_and_picture_and_nothing_from_elsewhere() {
    let world = world();
    let manifest = world.manifest.manifest();
    let part = Part::Whole(whole(&world));
    let page = page(manifest, &hostile(), &part).expect("a page");
    assert_eq!(
        (page.matches("<section").count(), page.matches("<svg").count()),
        (1, 1)
    );
    let code = part.to_code();
    for (number, group) in (1..).zip(code.split('-')) {
        assert!(
            page.contains(&format!("<li>{group}<small>{number}</small></li>")),
            "numbered groups"
        );
    }
    assert!(page.contains("O&#39;Hara, &lt;b onload=&quot;x&quot;&gt;Scarlett&lt;/b&gt; &amp; son"));
    assert!(page.contains("1 &lt;script&gt;alert(1)&lt;/script&gt; Street\nAtlanta</p>"));
    assert!(page.contains("<section lang=\"de\">") && page.contains("Stimmberechtigt"));
    let inside = page.replace("http://www.w3.org/2000/svg", "");
    for outside in [
        "http://", "https://", "<script", "<img", "<link", "url(", "@import", "<b ", "\u{202e}",
    ] {
        assert!(!inside.contains(outside), "{outside}: the page stands by itself");
    }
    assert!(page.contains("break-after:page") && !page.contains("H\u{e4}lfte"));
}

#[test]
fn a_letters_sheet_says_that_a_half_is_missing_and_a_message_has_no_sheet() {
    let world = world();
    let manifest = world.manifest.manifest();
    let english = Addressee::default();
    let letter = Part::Letter(Letter::new(whole(&world)));
    assert!(
        sheet(manifest, &english, &letter)
            .expect("a sheet")
            .contains("one half of your code")
    );
    let credential = Credential::new(9);
    let half = Message::new(&world.manifest.hash(), BoxId(1), VoterIndex(2), credential);
    let half = Part::Message(half);
    assert_eq!(
        sheet(manifest, &english, &half).err(),
        Some(SheetError::IsMessage)
    );
    assert_eq!(message(manifest, &[], &letter).err(), Some(SheetError::IsLetter));
    for (language, words) in [
        ("en", "tell it to nobody"),
        ("de_CH", "niemandem"),
        ("fr", "personne"),
        ("ja-JP", "誰にも"),
        ("xx", "nobody"),
    ] {
        let text = message(manifest, &[language.to_owned()], &half).expect("a text");
        assert!(
            text.contains(words) && text.contains(&*half.to_code()),
            "{language}: a text message"
        );
        assert!(
            text.chars().count() <= 160,
            "{language}: {} characters",
            text.chars().count()
        );
        assert_eq!(text.matches("{}").count(), 0);
    }
}

/// A sheet says whose and which, and the code; the rest is the same for every credential.
#[test]
fn a_decoys_sheet_differs_in_its_code_only() {
    let world = world();
    let manifest = world.manifest.manifest();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for part in [
        Part::Whole(whole(&world)),
        Part::Letter(Letter::new(whole(&world))),
    ] {
        let decoy = part.decoy(&mut rng);
        let [own, other] = [&part, &decoy].map(|part| {
            let mut rest = sheet(manifest, &hostile(), part).expect("a sheet").to_string();
            for (number, group) in (1..).zip(part.to_code().split('-')) {
                rest = rest.replacen(&format!("<li>{group}<small>{number}<"), "<li>", 1);
            }
            let (before, picture) = rest.split_once(" d=\"").expect("a picture");
            let (_, after) = picture.split_once("\"/>").expect("its end");
            format!("{before}{after}")
        });
        assert_eq!(own, other);
        assert_ne!(*part.to_code(), *decoy.to_code());
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let world = world();
    let addressee = Addressee {
        reference: "x".repeat(MAX_SHEET_BYTES),
        ..Addressee::default()
    };
    let refused = sheet(world.manifest.manifest(), &addressee, &Part::Whole(whole(&world)));
    assert_eq!(refused.err(), Some(SheetError::TooLong));
    let nowhere = Invitation::new(
        &world.manifest.hash(),
        BoxId(99),
        VoterIndex(0),
        Credential::new(1),
    );
    let refused = sheet(
        world.manifest.manifest(),
        &Addressee::default(),
        &Part::Whole(nowhere),
    );
    assert_eq!(refused.err(), Some(SheetError::NoBox(99)));
}
