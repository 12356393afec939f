//! Stable reason codes: what was refused or went wrong, what it means and what to do about it.
//!
//! Codes are part of the interface: they never change their meaning and are never reused. `REASONS.md` is generated from this table.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// Who has to act on a reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// The same request may succeed later.
    Retry,
    /// The caller's fault; the same request will be refused again.
    Reject,
    /// A party broke the protocol; somebody is named.
    Abort,
    /// This service cannot go on.
    Fatal,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Abort => "abort",
            Self::Fatal => "fatal",
        })
    }
}

macro_rules! reasons {
    ($($name:ident $code:literal $class:ident $meaning:literal $action:literal;)*) => {
        /// A stable reason code.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Who has to act.
            pub const fn class(self) -> Class {
                match self { $(Self::$name => Class::$class,)* }
            }

            /// What it means.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What to do about it.
            pub const fn action(self) -> &'static str {
                match self { $(Self::$name => $action,)* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;
            fn from_str(code: &str) -> Result<Self, UnknownReason> {
                match code {
                    $($code => Ok(Self::$name),)*
                    other => Err(UnknownReason(other.chars().take(80).collect())),
                }
            }
        }
    };
}

/// A code that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reason code {0:?} is not known to this version")]
pub struct UnknownReason(pub String);

reasons! {
    BallotBeforeOpening "ballot.before-opening" Reject
        "The ballot's cast_at, or the moment of its submission, lies before the channel opens."
        "Cast again once the channel is open; the manifest lists its opening hours.";
    BallotAfterClose "ballot.after-close" Reject
        "The ballot's cast_at, or the moment of its submission, lies after the channel has closed."
        "Nothing can be cast on this channel any more. A receipt from two parties of an earlier ballot still counts.";
    BallotCastAtOutOfRange "ballot.cast-at-out-of-range" Reject
        "cast_at is more than 60 s behind or ahead of this party's clock, or, for a station, outside the station's opening hours."
        "Take the median of the three parties' clocks as cast_at and cast anew.";
    BallotKnownOtherContent "ballot.known-with-other-content" Reject
        "The digest is already accepted, and this submission does not open to the same commitments."
        "Send the ciphertext that belongs to the header, or cast anew with fresh nonces.";
    BallotStationUnknown "ballot.station-unknown" Reject
        "The header names a station that the manifest does not list for this box."
        "Check the station's number and the boxes it may vote for.";
    BallotStationSignature "ballot.station-signature" Reject
        "The station's signature over the digest does not verify with the station's key in the manifest."
        "Sign the digest with the station's own key, and submit again.";
    BallotStationSequence "ballot.station-sequence-repeated" Reject
        "A station used one sequence number for two ballots (sealing keeps the lowest digest), or a number beyond what one station may cast."
        "The station must never reset its counter. Reconcile its sign-in count with the Seal.";
    BallotStationRevoked "ballot.station-revoked" Reject
        "An order has revoked the station: what it casts from the order's moment on does not count, nor what it cast before where the manifest says so; nothing more is taken from it."
        "Vote at another station. Whoever voted there after that moment, or before it while the station could not deliver, votes again.";
    BallotStationClosed "ballot.station-closed" Reject
        "The station has hours of its own in the manifest, and the ballot was cast outside them."
        "Vote at a station that is open; the manifest lists the hours of each, `station desk` shows this one's.";
    BallotNotHeld "ballot.not-held" Retry
        "Fewer than two parties show a ballot of that digest."
        "Try again if it was cast a moment ago. If it stays so, it was not cast: cast again, on another device.";
    BallotAuthorityMissing "ballot.authority-mismatch" Reject
        "The header's authority does not fit its channel: stations name a station and sequence, online ballots do not."
        "Build the header with the channel's own constructor.";
    TicketMissing "ticket.missing" Reject
        "The election asks for tickets, and the ballot names none."
        "Draw tickets with the invitation's draw code and cast with one.";
    TicketBad "ticket.bad" Reject
        "The ticket is not signed with the coordinator's key of its day, or the election asks for no tickets."
        "Draw tickets of this election from its coordinator and cast with one.";
    TicketOtherDay "ticket.other-day" Reject
        "The ticket is of another day than the one the ballot was cast on."
        "Cast with a ticket of the day.";
    TicketOwner "ticket.owner" Reject
        "The ticket's own key did not sign this ballot with these ciphertexts: a copied ticket is of no use."
        "Cast with a ticket that was drawn on this device.";
    TicketSpent "ticket.spent" Reject
        "Another ballot was cast with this ticket; of several, the lowest digest stays."
        "Cast anew with another ticket; where none is left, draw again or vote at a station.";
    DrawRefused "draw.refused" Reject
        "The draw code is not that voter's, or there is nothing to draw in this election."
        "Compare with the invitation; its draw code belongs to one voter of one election. Who enrolled by card registers it with `client draw-code`.";
    DrawExhausted "draw.exhausted" Reject
        "The voter has drawn as often as the election allows."
        "Cast from a device that has tickets, ask the commission for one more draw, or vote at a station.";
    DrawCodes "draw.too-many-codes" Reject
        "So many draw codes were registered with this person's card that no further one is taken; those that are there stay good."
        "Enrol with the draw code of an earlier invitation (`client enrol --draw-code-of`), ask the commission for one more draw, or vote at a station.";
    DrawNotReady "draw.not-ready" Retry
        "The coordinator does not have the registrar's draw codes yet."
        "Try again later; the commission runs `coordinator tickets` with the registrar's file.";
    BallotTooFew "box.too-few-submissions" Reject
        "The box holds fewer submissions than the manifest's minimum: nearly nobody can have voted, and a result would tell how."
        "The box cannot be tallied alone. Follow the election law's rule for boxes that are too small.";
    BoxTooSmall "box.too-few-voters" Reject
        "The box has fewer voters than the manifest's own minimum."
        "Merge it with another box before the manifest is signed.";
    BoxFull "box.full" Reject
        "The box holds as many ballots or records as can be sealed and published; the manifest says how many."
        "Online: vote at a polling station. At a station: call the commission, which looks for who sends so many.";
    ElectionUnknown "election.unknown" Reject
        "This party does not hold a manifest of that election."
        "Check the election id; the coordinator publishes the manifest to each party.";
    ElectionOther "election.other" Reject
        "The object belongs to another election or another manifest than the one it was sent for."
        "Use the object of this election; compare manifest hashes.";
    BoxUnknown "box.unknown" Reject
        "The election has no box of that number."
        "Take the box number from the invitation or the manifest.";
    BoxPhase "box.phase" Reject
        "The box is not in the phase that this request needs."
        "Look at the box's phase in the status and wait for, or take, the step before.";
    ContestUnknown "contest.unknown" Reject
        "The box has no contest of that number."
        "Take the contest number from the manifest's list for this box.";
    ChannelUnknown "channel.unknown" Reject
        "The election has no channel of that kind."
        "Vote on a channel that the manifest lists.";
    MessageMalformed "message.malformed" Reject
        "The bytes are no well-formed message, or a field has a wrong length or value."
        "Build the message with this project's library, or compare with the field named in the detail.";
    MessageTooLarge "message.too-large" Reject
        "The message is larger than its declared limit."
        "Split it where the interface streams, else it does not belong here.";
    MessageTooSlow "message.too-slow" Retry
        "The message did not arrive in the time that the server gives it."
        "Send it again; where the connection is that slow, from another network.";
    MessageNotCanonical "message.not-canonical" Reject
        "The message does not re-encode to its own bytes."
        "Send the canonical protobuf encoding: fields in order, once, without unknown fields or explicit defaults.";
    SignatureBad "signature.bad" Reject
        "A signature is missing, of a key that has no say, or does not verify."
        "Sign the exact bytes with the key that the manifest names; check that nothing was altered on the way.";
    ShareCommitmentMismatch "share.commitment-mismatch" Reject
        "A share that this party was sent does not open the header's commitment to it."
        "Cast anew: the ballot was built wrongly or tampered with on the way.";
    ShareUnopenable "share.unopenable" Reject
        "The ciphertext does not open with this party's key and the ballot's digest, or opens to a wrong length."
        "Seal the shares to this party's key in the manifest, with the digest as associated data.";
    SuiteUnsupported "suite.unsupported" Reject
        "The HPKE suite is not one that this version supports."
        "Use DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305: ids 32, 1, 3.";
    RoleRefused "role.refused" Reject
        "The caller's certificate does not stand for a role that may ask this."
        "Call with the certificate of the named role, issued by the authority that the identity files name for it.";
    ManifestInvalid "manifest.invalid" Reject
        "The manifest breaks one of its own rules; the detail names it."
        "Mend the election file and publish anew.";
    ManifestUnsupported "manifest.unsupported" Reject
        "The manifest uses something that this version does not support; the detail names it."
        "Remove it from the election file, or use a version that supports it.";
    ManifestNotCountersigned "manifest.not-countersigned" Reject
        "The manifest does not carry the countersignatures of all three parties' operators."
        "Let each operator compare the fingerprints and countersign, then let the coordinator certify.";
    ManifestOther "manifest.other" Reject
        "A different manifest of this election is already here."
        "An election is defined once; a change needs an order, another election another id.";
    ManifestIdentity "manifest.identity" Reject
        "The manifest names another party or coordinator than this party's operator has configured."
        "Compare the identity files and their fingerprints by phone, then mend the election file or the configuration.";
    OrderInvalid "order.invalid" Reject
        "The order does not fit: it does not follow the last one in force, changes nothing that exists, or comes at the wrong time: a correction before the close, anything after the seal."
        "Let the coordinator draw it up again after the last order in force, for an existing channel, box and voter.";
    RollDuplicate "roll.duplicate" Reject
        "The roll names a voter reference twice."
        "Remove the second entry; the detail names both lines.";
    RollGap "roll.gap" Reject
        "The roll's voter numbers do not run 0, 1, 2 ... without gaps."
        "Let the coordinator number the roll, or fill the gap that the detail names.";
    RollMismatch "roll.mismatch" Reject
        "The roll does not have the number of voters or the Merkle root that the manifest states."
        "Publish the roll that the manifest was made from.";
    RollKind "roll.other-kind" Reject
        "The record is for an open roll where the roll is closed, or for a closed one where it is open."
        "Enrol with the program of this version, for this election; registrars issue nothing for an open roll.";
    RollNumberGiver "roll.number-giver" Reject
        "A record for an open roll came to P1 with a number, or to another party without P1's receipt for its number."
        "Bring it to P1 first, without a number, then to P2 and P3 with the number and the receipt that P1 gave.";
    RollPersonsChanged "roll.persons-changed" Reject
        "On this roll people who enrolled by card in other elections of the register are called otherwise than there, and the operator was not shown how many."
        "Look at the manifest again with `party countersign`, which names them. If the commission cannot say why they are called otherwise, do not sign.";
    RollNumberAhead "roll.number-ahead" Retry
        "P1 gave a number of the open roll far above how many people have shown a card for it, as far as this party has seen: it would make the tally larger than it is, or this party is catching up."
        "Enrol again in a few minutes; if it stays so for everybody, tell the commission: P1 gives numbers that nobody has.";
    RollNumberTaken "roll.number-taken" Reject
        "P1 gave one number of the open roll to two people, or one person two numbers; at this party the first pairing stands."
        "P1 breaks the protocol, or its store was set back: tell the election commission and the operators.";
    RollFull "roll.full" Reject
        "The open roll has as many voters as it can have."
        "Nobody else can enrol for this election; ask the election commission.";
    RollFrozen "roll.frozen" Reject
        "The open roll is frozen: the time to enrol for it is over."
        "Who is on it can vote; nobody is added any more.";
    RollTooFew "roll.too-few" Reject
        "Fewer voters enrolled for the open roll than the policy asks for."
        "The box is not tallied: so few would see how the others voted.";
    VoterUnknown "voter.unknown" Reject
        "The voter number is beyond the roll of the box."
        "Issue credentials for the roll of the manifest.";
    VoterStationOnly "voter.station-only" Reject
        "The roll says that this voter does not vote online, so no credential may be recorded."
        "Issue credentials to the roll's online voters only.";
    ChoiceTooMany "choice.too-many" Reject
        "More options are chosen than the contest allows."
        "Choose at most as many as the contest says.";
    ChoiceUnknown "choice.unknown" Reject
        "The contest has no option of that name or number."
        "Choose one of the contest's options.";
    ChoiceRepeated "choice.repeated" Reject
        "An option is chosen twice."
        "Name each option once.";
    InvitationInvalid "invitation.invalid" Reject
        "The invitation's text is incomplete, mistyped or of another election."
        "Type it again as printed; the detail says where it breaks.";
    CheckCodeInvalid "check-code.invalid" Reject
        "The check code's text is incomplete, mistyped, or something else, as an invitation."
        "Scan it again, or type it as shown; the detail says where it breaks. Never type an invitation there.";
    CheckCodeMismatch "check-code.mismatch" Reject
        "The check code does not open the ballot that the parties hold: the device that made it shows something else than it cast."
        "Do not trust that device. Cast again on another one or at a polling station, and tell the election commission.";
    RecordSerial "record.serial" Reject
        "A record of this voter with the same serial and other content is here, or no order in force allows the serial."
        "Issue with serial 1; issuing again needs an order that all parties have countersigned, and the higher serial that it names.";
    RecordHalves "record.halves" Reject
        "The record's half does not fit the manifest: each registrar issues its own half, a lone registrar all of it."
        "Let the registrar that the manifest names for this half issue it.";
    RecordAuthorisation "record.authorisation" Reject
        "The registrar's authorisation of the record does not verify."
        "Sign the record's digest with the registrar's key of the manifest.";
    RecordSource "record.other-source" Reject
        "A card record came where an issued one belongs, or an issued record where a card's belongs."
        "Registrars bring issued records, voters' devices card records.";
    RecordReissued "record.reissued" Reject
        "An order says that the voter's card records up to its moment do not stand."
        "Enrol anew with the card, or use the invitation that was issued.";
    CardMalformed "card.malformed" Reject
        "What came with a card record is no certificate and signature of the form that cards give."
        "Try again with the program of this version; the detail says what is wrong.";
    CardRegister "card.register" Reject
        "The election does not take enrolment by card, or takes that of another register."
        "Enrol for an election of this register, or use the invitation that was sent.";
    CardIssuer "card.other-issuer" Reject
        "The certificate on the card was not issued by an authority that the election names, or that authority is not valid now."
        "Use the card that the election asks for; the election's pages say which.";
    CardPurpose "card.wrong-purpose" Reject
        "The certificate on the card is for something else, as signing documents."
        "Let the program choose the certificate, or choose the one for logging in.";
    CardWeakKey "card.weak-key" Reject
        "The card's key is too short or of a kind that is not taken."
        "Get a newer card, or vote at a polling station.";
    CardExpired "card.expired" Reject
        "The certificate on the card has expired."
        "Renew it, or vote at a polling station.";
    CardNotYetValid "card.not-yet-valid" Reject
        "The certificate on the card is not valid yet."
        "Wait until it is; if it should be, check the clocks.";
    CardNamesNobody "card.names-nobody" Reject
        "The certificate does not name its holder in the field that the election looks at."
        "Use the card that the election asks for.";
    CardSignature "card.signature" Reject
        "The card's signature over the record or the draw code does not verify."
        "Take the card out, put it in again and repeat.";
    CardRevoked "card.revoked" Reject
        "The certificate on the card was revoked by the authority that issued it."
        "Use the new card, or ask the office that issued this one.";
    CardRevocationList "card.revocation-list" Retry
        "This party, or the coordinator for a draw code, has no revocation list of the issuing authority that is good at this moment."
        "Its operator fetches it; then enrol again, or register the draw code again. Nothing is wrong with the card.";
    CardNotOnRoll "card.not-on-roll" Reject
        "The person whom the card names is not on the roll of this election."
        "Ask the election commission, or vote where you are registered.";
    CardSignedAt "card.signed-at" Reject
        "The card signed outside the enrolment period, or at a time far from the clock of whoever is to take it."
        "Enrol within the period; set the device's clock.";
    CardTooOften "card.too-often" Retry
        "So many records of this voter are here that the next one has to wait."
        "Enrol again at the time that the detail names; the newest record that all three parties took stands.";
    CardLater "card.later-record" Retry
        "A record of this voter that was signed later is here; it would stand, and not this one."
        "Enrol again in a few seconds.";
    CardSoftware "card.software" Reject
        "The PKCS#11 module that was named cannot be used: it is not there, or no such module."
        "Install the software of the card, and name its PKCS#11 module.";
    CardReader "card.no-reader" Retry
        "There is no card reader."
        "Connect one, then repeat.";
    CardAbsent "card.absent" Retry
        "There is no card in the reader, or it was taken out."
        "Put it in, chip first, then repeat.";
    CardOther "card.other-card" Reject
        "No card is called as was asked for."
        "Put the right card in, or name one of those that the message lists.";
    CardEmpty "card.no-certificate" Reject
        "There is no certificate on the card."
        "Use an identity card that is activated.";
    CardKeyMissing "card.no-key" Reject
        "The key of the certificate is not on the card or in the file."
        "Use another card; this one may be damaged.";
    CardPinWrong "card.pin-wrong" Retry
        "The PIN is wrong; several tries are left."
        "Type it again.";
    CardPinFew "card.pin-few" Retry
        "The PIN is wrong, and few tries are left."
        "Look the PIN up before the next try.";
    CardPinLast "card.pin-last" Retry
        "The PIN is wrong, and one try is left."
        "Look the PIN up: another wrong one locks the card.";
    CardLocked "card.locked" Reject
        "The card is locked after too many wrong PINs."
        "Unlock it with its PUK in the card's own software, or at the office that issued it.";
    CardCancelled "card.cancelled" Retry
        "The question for the PIN was not answered: nothing was signed, and no try is lost."
        "Enrol again.";
    CardAsksAgain "card.asks-again" Reject
        "The card wants its PIN within each signature with this key, and its software does not take it there."
        "Vote at a polling station, or ask the election commission.";
    CardFailed "card.failed" Retry
        "The card or its software failed; the message holds what it said."
        "Take the card out, put it in again and repeat.";
    CardFile "card.file" Reject
        "The file in the card's place cannot be read, or is no PKCS#12 file with a key and its certificate."
        "Name the file that was handed out for this.";
    CardFilePassword "card.file-password" Retry
        "The password of the file in the card's place is wrong."
        "Type it again.";
    EnrolPlaces "enrol.places-differ" Abort
        "The parties that took a card record say different places on the roll: one of them is wrong, and no code is given out."
        "Enrol again; if it stays so, tell the election commission.";
    ReceiptInvalid "receipt.invalid" Reject
        "The receipt's signature does not verify, or it is not in time."
        "Hand over receipts as the party gave them.";
    ReceiptWithheld "receipt.withheld" Reject
        "The party says that it accepted the ballot, and shows its receipt not to whoever shows these words."
        "Compare the name with the one that the device gave when the ballot was cast; if they are the same, tell the election commission.";
    ReceiptEarly "receipt.early" Retry
        "A party's receipt is for a ballot or record that this party has not accepted."
        "Submit to this party first, then bring the others' receipts.";
    LogRange "log.range" Reject
        "The log has no such position or size."
        "Ask within the size of the latest checkpoint.";
    LogCosignature "log.cosignature" Reject
        "The cosigned checkpoint is not one of this party's, or the cosignature does not verify."
        "Cosign the checkpoint that the party served.";
    LogRewritten "log.rewritten" Abort
        "A party signed two checkpoints that no one log has: its operator rewrote the log, or shows different logs to different parties."
        "Voting goes on. Keep both checkpoints, which prove it; the receipts in voters' hands show what was removed.";
    LogPageWrong "log.page-wrong" Abort
        "A party gave log entries that do not make up the checkpoint it signed for them."
        "Voting goes on and the entries are asked for again. Ask that party's operators for the state of its disk.";
    LogUnseen "log.unseen" Retry
        "Neither of the two other parties has seen that far into a party's log, though both answer."
        "Check again a minute later. If it stays so, that party shows you a log that it shows to nobody else: tell the election commission.";
    LogFlooded "log.flooded" Abort
        "A party's log holds more entries than the manifest lets it take, or too many with nothing behind them."
        "Voting goes on, and sealing asks for what it needs. Ask that party's operators what they write into their log, and tell the commission.";
    BundleAltered "bundle.altered" Reject
        "The bundle is not what was signed: a byte was changed, or what it states does not follow from its evidence."
        "Fetch the bundle again from the coordinator; if it fails again, do not trust the result.";
    BundleOther "bundle.other-manifest" Reject
        "The bundle belongs to another manifest than the one given."
        "Verify with the manifest that the bundle's election published.";
    ResultSignatures "result.signatures" Reject
        "The result does not carry the signatures of two parties."
        "A result stands only with two; ask the parties.";
    ListAlready "list.already" Reject
        "This party has signed its one List of the box and will not make another."
        "Use the stored one, which the party returns.";
    SealAlready "seal.already" Reject
        "The box is sealed or its List is signed: what will be tallied is fixed, and there is no second seal over another set."
        "Nothing is to be done: what is sealed stands, and every request to seal returns it. No order changes it.";
    TallyAlready "tally.already" Reject
        "The box is tallied; there is no second tally."
        "Use the stored Result, which the party returns.";
    SessionStale "session.stale" Reject
        "The session number is not above every number this party has signed, or jumps too far."
        "Propose the number that the detail names.";
    SessionUnknown "session.unknown" Reject
        "No session is open under these three Starts."
        "Prepare a session with all three parties first.";
    SessionLimit "session.limit" Reject
        "The box has used up its tally sessions without a person's leave, or this party was restored from a backup."
        "Find out why the sessions aborted; then the operator of the party that says so runs `party allow-sessions`.";
    SessionFramePending "session.frame-pending" Retry
        "The frame that is demanded is not made yet, or not kept any more."
        "Ask again; a session that makes no progress ends by its deadline.";
    SessionHidden "session.holdings-hidden" Abort
        "A party's signed statement of what it holds leaves out what its other signatures show that it held."
        "Keep the statement with its Claims and Seal; they prove it to anyone.";
    ConfirmationMismatch "confirmation.mismatch" Reject
        "The typed confirmation is not the election's id."
        "Read the manifest, then type the election's id exactly.";
    ObjectUnknown "object.unknown" Reject
        "There is no object of that hash here."
        "List what is pending and use the hash shown there.";
    PartyBusy "party.busy" Retry
        "The party has too much to do at the moment."
        "Try again after a moment, with growing pauses.";
    PartyRecollecting "party.recollecting" Retry
        "The party has started and does not know yet whether its store is the newest there was, or is getting back what the store lacks."
        "Try again after a moment. If it lasts, see the party's status: the other parties must answer, or its operator orders `party trust-store`.";
    PartyUnreachable "party.unreachable" Retry
        "A party cannot be reached."
        "Check that its server runs and its address answers; the request can be repeated.";
    PartyRefusedIdentity "party.wrong-identity" Abort
        "The server that answered does not hold a certificate of the party's own authority."
        "Compare the party's fingerprint with its operators by phone before going on.";
    CertificateExpired "certificate.expired" Reject
        "A TLS certificate has ended: the one that the server showed, or the one that the caller shows."
        "Have the one that is named renewed: a party's by its operator (`party renew-certificates`), a station's or registrar's by the commission (`coordinator certify`, on the same request), the commission's by `coordinator renew-certificate`. Nothing else changes.";
    CertificateReplaced "certificate.replaced" Reject
        "The certificate that the caller shows was replaced by a newer one of the same role, which was first shown more than an hour ago."
        "Show the newer one: start whatever shows the old one again with the new files. If the newer one is not yours, somebody has issued it with the authority's key: call the other operators at once.";
    PartyLocked "party.locked" Retry
        "The party's keys are locked: its officials have not unlocked them since its machine started."
        "Vote through the other two parties meanwhile; the party's operator calls its key officials to `party unseal`.";
    PartyShuttingDown "party.shutting-down" Retry
        "The party is shutting down."
        "Try again once it is back.";
    SealPending "seal.pending" Retry
        "What sealing needs from another party is not there yet."
        "Repeat the seal once that party is reachable; every step is resumed where it stopped.";
    SealTwoLists "seal.two-statements" Abort
        "A party signed two different Lists, Claims or Seals of one box: proof against it."
        "Keep both envelopes; they prove who broke the rules to anyone.";
    SealShareWithheld "seal.share-withheld" Abort
        "A party did not answer a complaint; two state that it is silent."
        "Ask the named party's operators; the seal can be resumed once it answers.";
    SealShareWrong "seal.share-wrong" Abort
        "A party answered a complaint with a share that does not open the commitment: proved by the shown key."
        "Keep complaint, answer and key; the named party broke the rules.";
    SealComplaintFalse "seal.complaint-false" Abort
        "A party complained although the answer opens the commitment: it is named itself."
        "Keep complaint, answer and key; the named party broke the rules.";
    SealDisagreement "seal.disagreement" Abort
        "The parties computed different Seals from the same Lists and Claims."
        "Compare versions of the three servers and their Seals' bytes; recompute with the public inputs.";
    SealAcceptanceHidden "seal.acceptance-hidden" Abort
        "A party gave a receipt for a ballot or record that its List leaves out; the receipt counts as its acceptance."
        "Sealing goes on. Keep List and Claims, which prove it; ask the named party's operators whether it was restored from a backup.";
    SealNotTakenOver "seal.not-taken-over" Abort
        "A party accepted a card record for another election of the register and does not list it in this one; its receipt there counts as its acceptance."
        "Sealing goes on. The named party was away until the end, or leaves people out: ask its operators for its log of those hours.";
    SealWrongKind "seal.listed-as-other-kind" Abort
        "A party listed a ballot as a credential record, or a record as a ballot; the header of that digest proves it."
        "Keep the List and the header; the named party broke the rules.";
    SealClaimFalse "seal.claim-false" Abort
        "A party claimed a receipt that is not what it says; everyone disregards it."
        "Sealing goes on. Keep the Claims, which prove it to anyone.";
    TallyAborted "tally.aborted" Abort
        "The tally session stopped; the Abort names step, channel and suspects."
        "Read the Abort. A new session may be opened once the cause is gone.";
    TallyOverdue "tally.overdue" Abort
        "A party's message in a tally session is overdue."
        "Check that party and the network, then open a new session.";
    TallyCheckFailed "tally.check-failed" Abort
        "A check of the protocol failed: a message in the session was wrong."
        "Read the Abort: prover and verifier are named; a replay decides.";
    OffsetsMissing "offsets.missing" Retry
        "The party does not hold the key of offsets that the manifest names for its register of enrolment."
        "Run `coordinator register` before the election is defined. A party that lost its store asks the others by itself.";
    OffsetsRefused "offsets.refused" Reject
        "Offsets of a credential are told to the device that made its record, and for card records only."
        "Enrol again: the device that enrols asks in the same session.";
    OffsetsTold "offsets.told" Reject
        "The offsets of this record were told before; they are told once."
        "Enrol again: the new record has a higher serial and replaces this one.";
    OffsetsTooMany "offsets.too-many" Reject
        "Keys of offsets are here of as many registers that no election names as a party keeps."
        "Publish elections of those registers, or give the new election the register of one of them.";
    OffsetsDiffer "offsets.differ" Abort
        "What two parties told a device of its credential differs, or what one told does not open: one of those that are named is wrong, and no code is given out."
        "Enrol again: it makes a new record in the place of this one. If it stays so, tell the election commission, who reads the parties' audits.";
    StoreFailed "store.failed" Fatal
        "The party's store could not be read or written."
        "Check disk space and hardware; nothing was acknowledged that is not on disk.";
    ClockWrong "clock.wrong" Retry
        "The party's clock is over a second from both other parties': it accepts nothing until the clock is right."
        "The party's operator sets the clock by a trusted source. Voters need nothing but the two other parties.";
    StoreFull "store.full" Retry
        "The volume of the party's store has less room than intake.disk_reserve_mib: nothing more is taken, so that sealing keeps room."
        "Operator: make room; the party goes on by itself. Voter: try again; two parties are enough.";
    Internal "internal" Fatal
        "Something happened that should not; the log holds the details."
        "Report it with the log.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The page `REASONS.md`.
pub fn page() -> String {
    let mut page = String::from(
        "# Reason codes\n\nGenerated from `proto/src/reason.rs`; `cargo test -p tally-proto` compares the two. A refusal carries \
         its code in the gRPC\nmetadata `tally-reason` and its detail in the status message.\n\nClasses: *retry*: the same request \
         may succeed later. *reject*: the caller's fault. *abort*: a party broke the\nprotocol and is named. *fatal*: this \
         service cannot go on.\n\n| code | class | what it means | what to do |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let (code, class, meaning, action) =
            (reason.code(), reason.class(), reason.meaning(), reason.action());
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{code}` | {class} | {meaning} | {action} |");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_well_formed_and_parse_back() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|r| r.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let code = reason.code();
            assert!(
                code.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-'),
                "{code}"
            );
            assert_eq!(code.parse(), Ok(*reason));
            assert!(
                reason.meaning().ends_with('.') && reason.action().ends_with('.'),
                "{code}"
            );
            assert!(
                !reason.meaning().contains('|') && !reason.action().contains('|'),
                "{code}"
            );
        }
        assert_eq!("no.such".parse::<Reason>(), Err(UnknownReason("no.such".into())));
    }

    #[test]
    fn the_page_is_generated() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/REASONS.md");
        if std::env::var_os("TALLY_WRITE_REASONS").is_some() {
            std::fs::write(path, page()).expect("writable");
        }
        let written = std::fs::read_to_string(path).expect("proto/REASONS.md exists");
        assert_eq!(
            written,
            page(),
            "regenerate with TALLY_WRITE_REASONS=1 cargo test -p tally-proto reason"
        );
    }
}
