//! Valid objects of a made-up election.

use std::collections::BTreeMap;

use tally_mpc::layout::Choice;
use tally_mpc::{ContestTotals, Counts, Outcome};
use tally_proto::bundle::{BoxParts, sign_bundle};
use tally_proto::disclosure::Disclosure;
use tally_proto::envelope::{Kind, Signer};
use tally_proto::fixture::{Cast, Evidence, Listed, OPENS, Shape, World};
use tally_proto::ids::{
    BoxId, Digest, ElectionId, Hash32, Role, RoleExt as _, StationId, UnixSeconds, VoterIndex,
};
use tally_proto::invitation::{Credential, Invitation, Letter, Message, Part};
use tally_proto::log;
use tally_proto::merkle::empty_root;
use tally_proto::note::Checkpoint;
use tally_proto::open_roll::{Head, OpenRollList, Subject, Told};
use tally_proto::order::{Change, Correction};
use tally_proto::receipt::{sign_batch, whole_batches};
use tally_proto::record::{Endorsement, Half, RecordSubmission};
use tally_proto::result::BoxResult;
use tally_proto::sealing::{self, Seal};
use tally_proto::shares::{ShareContext, split_ballot};
use tally_proto::sign_ins::{BoxSignIns, SignIns};
use tally_proto::ticket::{DrawCode, OwnTicket};
use tally_proto::{ballot, ballot::StationMark};

/// A whole election, and one sealed and tallied box of it.
pub struct Seeds {
    /// The election.
    pub world: World,
    /// An online ballot's and a station ballot's submission to P1.
    pub submissions: [ballot::Submission; 2],
    /// A record's submission to P1.
    pub record: RecordSubmission,
    /// The evidence of box 1.
    pub evidence: Evidence,
    /// Its Seal.
    pub seal: Seal,
    /// Its result.
    pub result: BoxResult,
    /// A bundle.
    pub bundle: Vec<u8>,
    /// An online ballot's header, and the check code that opens its choice.
    pub disclosed: (ballot::BallotHeader, String),
}

const BOX: BoxId = BoxId(1);

impl Seeds {
    /// Makes them; always the same but for the TLS authorities and what hangs on them.
    pub fn new() -> Self {
        let mut world = World::new(Shape::default());
        let choices = [Choice::Options(vec![1]), Choice::Options(vec![2, 3])];
        let cast = |mark| Cast {
            of_box: BOX,
            voter: VoterIndex(1),
            credential: 7,
            choices: &choices,
            cast_at: UnixSeconds(OPENS),
            mark,
            paper: false,
        };
        let disclosed = disclosed(&mut world, &choices);
        let mark = StationMark {
            station: StationId(1),
            sequence: 1,
        };
        let [online, ..] = world.ballot(cast(None));
        let [station, ..] = world.ballot(cast(Some(mark)));
        let [record, ..] = world.record(BOX, VoterIndex(1), 1, Half::WHOLE, &Credential::new(7));
        let ballots = [
            Listed {
                public: (online.header().clone(), None),
                listed: [true, true, false],
            },
            Listed {
                public: (station.header().clone(), station.authority_signature().copied()),
                listed: [true; 3],
            },
        ];
        let records = [Listed {
            public: (
                record.header().clone(),
                Endorsement::Registrar(*record.registrar_signature().expect("issued")),
            ),
            listed: [true; 3],
        }];
        let claimed = [
            vec![world.receipt(Role::P3, BOX, online.digest())],
            vec![],
            vec![],
        ];
        let evidence = world.evidence(BOX, &ballots, &records, claimed, [&[]; 3]);
        let seal = sealing::compute(evidence.inputs(&world.election(), BOX))
            .expect("a Seal")
            .seal;
        let outcome = Outcome {
            contests: vec![
                ContestTotals {
                    options: vec![1, 0, 0],
                    spoilt: 0,
                },
                ContestTotals {
                    options: vec![0, 1, 1, 0],
                    spoilt: 0,
                },
            ],
            counts: Counts::PerChannel {
                online: 0,
                electronic: 1,
            },
        };
        let manifest = world.manifest.manifest();
        let result = BoxResult::from_outcome(manifest, BOX, seal.hash(), &outcome).expect("a result");
        let mut sealed = seal.sign(&world.signers[0]);
        let mut opened = result.sign(&world.signers[0]);
        for signer in &world.signers[1..] {
            sealed.add_signature(signer.sign(Kind::Seal, sealed.payload()));
            opened.add_signature(signer.sign(Kind::Result, opened.payload()));
        }
        let parts = BoxParts {
            seal: sealed,
            body: evidence.body.encode().into(),
            lists: evidence.lists.each_ref().map(|list| list.envelope().clone()),
            claims: evidence.claims_envelopes.clone(),
            result: opened,
            aborts: Vec::new(),
        };
        let bundle = sign_bundle(
            &world.coordinator,
            &world.manifest,
            &[],
            vec![(BOX, parts)],
            UnixSeconds(OPENS),
        );
        Self {
            submissions: [online, station],
            record,
            evidence,
            seal,
            result,
            bundle,
            disclosed,
            world,
        }
    }

    /// An order's payload.
    pub fn order(&self) -> Vec<u8> {
        let change = Correction {
            of_box: BOX,
            voter: VoterIndex(0),
            live: true,
            enrolled: false,
        };
        self.world.order(1, Change::Correction(change)).order().encode()
    }

    /// A checkpoint note.
    pub fn note(&self) -> Vec<u8> {
        let election = self.world.manifest.manifest().election().clone();
        let checkpoint = Checkpoint {
            election,
            party: Role::P1,
            size: 1009,
            root: empty_root(),
        };
        checkpoint.sign(&self.world.signers[0]).into_bytes()
    }

    /// A page of a log: what was accepted, and an event.
    pub fn log_page(&self) -> Vec<u8> {
        let (at, hash) = (UnixSeconds(1_800_000_000), Hash32([7; 32]));
        let accepted = log::Accepted {
            record: false,
            of_box: BOX,
            digest: Digest([1; 32]),
            ciphertext_hash: hash,
            received_at: at,
        };
        let event = log::Entry::Event(log::Happening::ListMade(BOX, hash), at);
        let lists = log::Entry::Event(log::Happening::Lists(3, hash), at);
        [log::Entry::Accepted(accepted), event, lists]
            .iter()
            .flat_map(log::Entry::to_bytes)
            .collect()
    }

    /// Tickets in the three forms, behind the byte that names each. The signature is nobody's: a form is all that is decoded.
    pub fn tickets(&self) -> Vec<Vec<u8>> {
        let own = [&[7; 32][..], &1u64.to_be_bytes(), &[8; 32], &[9; 256]].concat();
        let own = OwnTicket::from_bytes(&own).expect("a form");
        let public = prost::Message::encode_to_vec(&own.ticket().to_wire());
        let spent = own.sign(&Digest([1; 32]), [Hash32([2; 32]); 3]).to_bytes();
        let kept = own.to_bytes();
        let forms = [public.as_slice(), kept.as_slice(), spent.as_slice()];
        (0..)
            .zip(forms)
            .map(|(kind, form)| [&[kind], form].concat())
            .collect()
    }

    /// The link of an invitation that carries a draw code.
    pub fn invitation_with_draw(&self) -> Vec<u8> {
        let text = self.invitation();
        let invitation = Invitation::parse(std::str::from_utf8(&text).expect("text")).expect("an invitation");
        let draw = DrawCode::from_slice(&[5; DrawCode::BYTES]).expect("ten bytes");
        invitation.with_draw(draw).to_link().as_bytes().to_vec()
    }

    /// An invitation's link.
    pub fn invitation(&self) -> Vec<u8> {
        let invitation = Invitation::new(&Hash32([7; 32]), BOX, VoterIndex(3), Credential::new(9));
        invitation.to_link().as_bytes().to_vec()
    }

    /// Who is on an open roll.
    pub fn open_roll(&self) -> Vec<u8> {
        let of = Subject {
            election: self.world.manifest.manifest().election(),
            of_box: BOX,
        };
        let told = |party: Role, numbers: &[u32]| {
            let names: BTreeMap<u32, String> = numbers.iter().map(|v| (*v, format!("person {v}"))).collect();
            let signer = &self.world.signers[party.slot()];
            let head = Head::sign(of, party, UnixSeconds(OPENS), &names, signer);
            Told::new(of, party, &signer.public_key(), names, head).ok()
        };
        let told = [
            told(Role::P1, &[0, 1, 3]),
            told(Role::P2, &[0, 3]),
            told(Role::P3, &[0, 1]),
        ];
        let list = OpenRollList::join(told).expect("three heads");
        list.encode(of).into_bytes()
    }

    /// A station's closing statement.
    pub fn sign_ins(&self) -> Vec<u8> {
        let statement = SignIns {
            election: ElectionId::new("ward-7").expect("a slug"),
            manifest: Hash32([7; 32]),
            station: StationId(1),
            officer: "A. Berg".to_owned(),
            opened_at: UnixSeconds(1),
            closed_at: UnixSeconds(2),
            remark: String::new(),
            boxes: vec![BoxSignIns {
                of_box: 1,
                signed_in: 3,
                electronic: 2,
                paper: 1,
            }],
        };
        let signer = Signer::from_seed(&[7; 32]).expect("a seed");
        statement.sign(&signer).expect("signed").into_bytes()
    }

    /// The code of the letter of an invitation in halves.
    pub fn letter(&self) -> Vec<u8> {
        let half = Invitation::new(&Hash32([7; 32]), BOX, VoterIndex(3), Credential::new(9));
        Part::Letter(Letter::new(half)).to_code().as_bytes().to_vec()
    }

    /// The code of its text message.
    pub fn message(&self) -> Vec<u8> {
        let credential = Credential::new(9);
        let half = Message::new(&Hash32([7; 32]), BOX, VoterIndex(3), credential);
        half.to_code().as_bytes().to_vec()
    }

    /// A receipt.
    pub fn receipt(&self) -> Vec<u8> {
        self.world.receipt(Role::P2, BOX, Digest([5; 32])).encode()
    }

    /// Whole batches of one receipt and of three.
    pub fn receipt_batches(&self) -> Vec<Vec<u8>> {
        let stated = |n: u8| {
            let receipt = self.world.receipt(Role::P2, BOX, Digest([n; 32]));
            receipt.unverified().clone()
        };
        let encoded = |size| {
            let signed = sign_batch((0..size).map(stated).collect(), &self.world.signers[1]);
            prost::Message::encode_to_vec(&whole_batches(&signed)[0])
        };
        vec![encoded(1), encoded(3)]
    }
}

/// A ballot of voter 1 with these choices.
fn disclosed(world: &mut World, choices: &[Choice]) -> (ballot::BallotHeader, String) {
    let manifest = world.manifest.manifest();
    let (of_box, election) = (
        manifest.ballot_box(BOX).expect("box 1").clone(),
        manifest.election().clone(),
    );
    let packed = of_box.layout().pack(1, 7, choices).expect("it fits");
    let openings =
        split_ballot(of_box.layout(), &packed, &mut world.rng).expect("it was packed by this layout");
    let commitments = ShareContext::ballot(&election, &of_box).commit_all(&openings);
    let header = ballot::BallotHeader::online(election, BOX, UnixSeconds(OPENS), commitments);
    let disclosure = Disclosure::of(&world.manifest.hash(), &of_box, header.digest(), &openings);
    let text = disclosure.to_text().to_string();
    (header, text)
}

impl Default for Seeds {
    fn default() -> Self {
        Self::new()
    }
}
