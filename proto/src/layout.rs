//! Fixed byte layouts: what digests, commitments and signatures are taken over.
//!
//! Protobuf is not canonical, so nothing is ever hashed or signed through it. A layout is: one length byte and the domain tag, then
//! the fields in order; integers big endian at their full width, fixed-size byte fields as they are, variable ones with a `u32`
//! length in front. Two different values of one object therefore never have the same bytes, nor do objects of two kinds.

use sha2::{Digest as _, Sha256};

use crate::ids::{BoxId, ElectionId, Hash32};

/// The domain tags. One object kind, one tag.
pub mod tag {
    /// Ballot header, hence its digest.
    pub const BALLOT: &str = "tally/v1/ballot";
    /// Commitment to one share of a ballot.
    pub const SHARE: &str = "tally/v1/share";
    /// The part of a ballot's share that says whose it is, under the commitment.
    pub const SHARE_VOTER: &str = "tally/v1/share-voter";
    /// The nonce of the part of a ballot's share that says what is chosen.
    pub const SHARE_KEY: &str = "tally/v1/share-key";
    /// The part of a ballot's share that says what is chosen, under the commitment.
    pub const SHARE_CHOICE: &str = "tally/v1/share-choice";
    /// Checksum of what another device is shown of one ballot.
    pub const DISCLOSURE: &str = "tally/v1/disclosure";
    /// What the holder of a ballot shows.
    pub const HOLDER: &str = "tally/v1/holder";
    /// Credential record header, hence its digest.
    pub const RECORD: &str = "tally/v1/record";
    /// Card record header, hence its digest.
    pub const CARD_RECORD: &str = "tally/v1/card-record";
    /// Card record header for an open roll, without the number on it: what the card signs.
    pub const OPEN_CARD_RECORD: &str = "tally/v1/open-card-record";
    /// The same with the number, hence its digest.
    pub const OPEN_RECORD: &str = "tally/v1/open-record";
    /// Leaf of an open roll.
    pub const OPEN_ROLL: &str = "tally/v1/open-roll";
    /// Commitment to the certificate behind a card record.
    pub const CARD_HOLDER: &str = "tally/v1/card-holder";
    /// What a card signs.
    pub const CARD_AUTHORISATION: &str = "tally/v1/card-authorisation";
    /// Commitment to one share of an enrolled credential.
    pub const CARD_CREDENTIAL: &str = "tally/v1/card-credential";
    /// HPKE info of a card record's sealed shares.
    pub const SEALED_CARD_RECORD: &str = "tally/v1/sealed-card-record";
    /// What a certificate says of a voter, salted, as the roll has it.
    pub const PERSON: &str = "tally/v1/person";
    /// Hash of the salt of a roll's person codes.
    pub const PERSON_SALT: &str = "tally/v1/person-salt";
    /// The revocation lists that a party holds.
    pub const REVOCATION_LISTS: &str = "tally/v1/revocation-lists";
    /// Commitment to one share of a credential.
    pub const CREDENTIAL: &str = "tally/v1/credential";
    /// Receipt.
    pub const RECEIPT: &str = "tally/v1/receipt";
    /// Root of a batch of receipts: what a party signs.
    pub const RECEIPTS: &str = "tally/v1/receipts";
    /// Leaf of a roll.
    pub const ROLL: &str = "tally/v1/roll";
    /// HPKE info of a ballot's sealed shares.
    pub const SEALED_BALLOT: &str = "tally/v1/sealed-ballot";
    /// HPKE info of a credential record's sealed shares.
    pub const SEALED_RECORD: &str = "tally/v1/sealed-record";
    /// HPKE info of an answer to a complaint.
    pub const SEALED_ANSWER: &str = "tally/v1/sealed-answer";
    /// A station's authority over a ballot.
    pub const AUTHORITY: &str = "tally/v1/authority";
    /// A registrar's authorisation of a credential record.
    pub const AUTHORISATION: &str = "tally/v1/authorisation";
    /// The standing records of a Seal.
    pub const STANDING: &str = "tally/v1/standing";
    /// Leaf of a party's log: something accepted.
    pub const LOG: &str = "tally/v1/log";
    /// Leaf of a party's log: anything else.
    pub const LOG_EVENT: &str = "tally/v1/log-event";
    /// Commitment to a contribution to a tally session's pair seed.
    pub const CONTRIBUTION: &str = "tally/v1/contribution";
    /// A tally session's id: the three Starts.
    pub const SESSION: &str = "tally/v1/session";
    /// A party's statement at a barrier of a session.
    pub const STATEMENT: &str = "tally/v1/session-statement";
    /// HPKE info of a frame that answers a demand.
    pub const SEALED_FRAME: &str = "tally/v1/sealed-frame";
    /// Commitment to the key of the offsets that two parties hold.
    pub const OFFSET_KEY: &str = "tally/v1/offset-key";
    /// One share's offset of an enrolled credential.
    pub const OFFSET: &str = "tally/v1/offset";
    /// Asking for the offsets of a record, and telling them.
    pub const TELLING: &str = "tally/v1/telling";
    /// An identity file's fingerprint.
    pub const FINGERPRINT: &str = "tally/v1/fingerprint";
    /// A station's closing statement.
    pub const SIGN_INS: &str = "tally/v1/sign-ins";
    /// What ties the two halves of an invitation together.
    pub const INVITATION: &str = "tally/v1/invitation";
    /// What the coordinator signs of a ticket.
    pub const TICKET: &str = "tally/v1/ticket";
    /// What a ticket's one-time key signs.
    pub const TICKET_USE: &str = "tally/v1/ticket-use";
    /// Key of the tickets that a device keeps.
    pub const PURSE: &str = "tally/v1/purse";
    /// How many more draws a voter has than the manifest says.
    pub const SURPLUS: &str = "tally/v1/draw-surplus";
    /// How many draw codes a voter may register beyond what everybody may.
    pub const CODE_SURPLUS: &str = "tally/v1/draw-code-surplus";
    /// What the coordinator holds of a draw code.
    pub const DRAW_CODE: &str = "tally/v1/draw-code";
    /// Hash of a draw code that a card stands for.
    pub const CARD_DRAW_CODE: &str = "tally/v1/card-draw-code";
    /// What a card signs for a draw code.
    pub const DRAW_STATEMENT: &str = "tally/v1/draw-statement";
    /// A number and a name of an open roll, as a party states it for stations.
    pub const OPEN_ROLL_NAME: &str = "tally/v1/open-roll-name";
    /// All of them, under a party's signature.
    pub const OPEN_ROLL_HEAD: &str = "tally/v1/open-roll-head";
}

/// Builds one fixed layout. See the module's documentation for the format.
#[derive(Clone)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts with `tag` (at most 255 bytes; all tags are constants of [`tag`]).
    ///
    /// # Panics
    /// When the tag is longer than 255 bytes.
    pub fn new(tag: &str) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(u8::try_from(tag.len()).expect("tags are short constants"));
        bytes.extend_from_slice(tag.as_bytes());
        Self(bytes)
    }

    /// One byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Four bytes, big endian.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes, big endian.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A field whose size the layout fixes: the bytes and nothing else.
    #[must_use]
    pub fn fixed<const N: usize>(mut self, value: &[u8; N]) -> Self {
        self.0.extend_from_slice(value);
        self
    }

    /// A field of variable size: its length as `u32`, then the bytes.
    ///
    /// # Panics
    /// When it has 2^32 bytes or more; every caller's input is bounded far below.
    #[must_use]
    pub fn bytes(mut self, value: &[u8]) -> Self {
        let length = u32::try_from(value.len()).expect("bounded by the decoder's limits");
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(value);
        self
    }

    /// A text as its UTF-8 bytes, with length.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// An election's id, with length.
    #[must_use]
    pub fn election(self, value: &ElectionId) -> Self {
        self.text(value.as_str())
    }

    /// A box's id.
    #[must_use]
    pub fn ballot_box(self, value: BoxId) -> Self {
        self.u32(value.0)
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// SHA-256 of the bytes.
    pub fn sha256(&self) -> Hash32 {
        Hash32(Sha256::digest(&self.0).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_exactly_this() {
        let bytes = Writer::new("t/x")
            .u8(7)
            .u32(0x0102_0304)
            .u64(5)
            .fixed(&[9, 8])
            .text("ab")
            .finish();
        assert_eq!(
            bytes,
            [
                3, b't', b'/', b'x', 7, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 5, 9, 8, 0, 0, 0, 2, b'a', b'b'
            ]
        );
    }

    #[test]
    fn moving_a_byte_between_fields_changes_the_layout() {
        assert_ne!(
            Writer::new("t").text("ab").text("c").finish(),
            Writer::new("t").text("a").text("bc").finish()
        );
    }
}
