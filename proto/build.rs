//! Compiles the `.proto` files with protox (no protoc needed) into the `wire` module and a descriptor set for reflection.

use std::error::Error;
use std::path::PathBuf;

/// Fields that stay `bytes::Bytes`, so that bulk payloads are not copied when a message is decoded.
const SHARED_BYTES: [&str; 12] = [
    ".tally.v1.Frame.session",
    ".tally.v1.Frame.label",
    ".tally.v1.Frame.payload",
    ".tally.v1.Submission.ciphertext",
    ".tally.v1.RecordSubmission.ciphertext",
    ".tally.v1.ListPart.ballots",
    ".tally.v1.ListPart.records",
    ".tally.v1.LogPage.entries",
    ".tally.v1.SealEvent.body_part",
    ".tally.v1.BundlePart.bytes",
    ".tally.v1.BoxBundle.body",
    ".tally.v1.Envelope.payload",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files =
        ["board", "control", "intake", "objects", "peer"].map(|name| format!("proto/tally/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let set = PathBuf::from(std::env::var("OUT_DIR")?).join("tally.v1.bin");
    std::fs::write(set, prost_bytes(&descriptors))?;
    let mut builder = tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .codec_path("crate::codec::CanonicalCodec");
    for field in SHARED_BYTES {
        builder = builder.bytes(field);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}

fn prost_bytes(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}
