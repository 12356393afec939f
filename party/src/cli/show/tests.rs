use tally_proto::fixture::{Shape, World};
use tally_proto::ids::Hash32;
use tally_proto::manifest::Manifest;

/// Whatever of a manifest can be changed shows in what the operator reads: what is not shown could be put in unseen.
#[test]
fn nothing_of_a_manifest_is_hidden_from_who_countersigns_it() {
    let world = World::new(Shape {
        cards: true,
        ..Shape::default()
    });
    let with_tickets = World::new(Shape {
        tickets: true,
        registrars: 2,
        ..Shape::default()
    });
    for world in [world, with_tickets] {
        let original = world.manifest.manifest();
        let bytes = original.encode();
        let hash = Hash32([7; 32]);
        let shown = super::manifest(original, &hash);
        let (mut read, mut hidden) = (0, Vec::new());
        for at in 0..bytes.len() {
            for flipped in [0x01, 0x04, 0x20] {
                let mut changed = bytes.clone();
                changed[at] ^= flipped;
                let Ok(other) = Manifest::decode(&changed) else {
                    continue;
                };
                read += 1;
                // Other white space at a line's end of a PEM file, and bits beyond the last byte in its base64, are the same certificate.
                let is_same_pem = bytes[at] == b'\n' || bytes.get(at + 1) == Some(&b'=');
                if !is_same_pem && super::manifest(&other, &hash) == shown {
                    let near = &bytes[at.saturating_sub(24)..(at + 8).min(bytes.len())];
                    hidden.push(format!("byte {at}: ...{}", near.escape_ascii()));
                    break;
                }
            }
        }
        assert!(read > 500, "only {read} changed manifests are manifests");
        assert_eq!(hidden, Vec::<String>::new());
    }
}
