//! How long parties are waited for.

use std::future::pending;

use tally_proto::fixture::{Shape, World};
use tally_proto::pki::PeerRole;

use super::*;
use crate::progress::Quiet;

fn parties() -> Parties {
    let world = World::new(Shape::default());
    let leaf = world
        .coordinator_authority
        .issue(&PeerRole::Coordinator, &["localhost"])
        .expect("certificate");
    connect::install_tls_provider();
    Parties::dial(world.manifest.manifest().parties(), &leaf).expect("addresses")
}

/// What a party does in a test.
#[derive(Clone, Copy)]
enum Does {
    EndsAfter(u64),
    SaysNothing,
    /// Something every second, and never an end.
    Talks,
}

/// Who was left, and after how many seconds.
async fn run(does: [Does; 3], says: [Wait; 3]) -> (Vec<Role>, u64) {
    let (parties, heard, start) = (parties(), Heard::new(), Instant::now());
    let work = async |party: &Party| match does[party.role().slot()] {
        Does::EndsAfter(s) => sleep(Duration::from_secs(s)).await,
        Does::SaysNothing => pending().await,
        Does::Talks => loop {
            sleep(Duration::from_secs(1)).await;
            heard.now();
        },
    };
    let judge = async |party: &Party, ()| says[party.role().slot()];
    let left = parties.as_they_end(&heard, work, judge).await;
    (left, start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn nobody_holds_up_what_the_others_have_said() {
    use Does::{EndsAfter, SaysNothing, Talks};
    let all = [EndsAfter(100), EndsAfter(90_000), EndsAfter(5)];
    assert_eq!(run(all, [Wait::On; 3]).await, (vec![], 90_000));
    // One that has said enough: the others have moments left, however much they talk.
    let enough = [Wait::On, Wait::Enough, Wait::On];
    assert_eq!(
        run([SaysNothing, EndsAfter(60), SaysNothing], enough).await,
        (vec![Role::P1, Role::P3], 65)
    );
    assert_eq!(
        run([Talks, EndsAfter(60), SaysNothing], enough).await,
        (vec![Role::P1, Role::P3], 90)
    );
    assert_eq!(
        run([SaysNothing, EndsAfter(60), EndsAfter(63)], enough).await,
        (vec![Role::P1], 65)
    );
    // One that has failed: whoever says nothing may be waiting for it in vain, whoever does has time.
    let failed = [Wait::Failed, Wait::On, Wait::On];
    assert_eq!(
        run([EndsAfter(10), SaysNothing, SaysNothing], failed).await,
        (vec![Role::P2, Role::P3], 12)
    );
    let (left, after) = run([EndsAfter(10), Talks, EndsAfter(50)], failed).await;
    assert_eq!((left, after), (vec![Role::P2], 10 + SILENCE.as_secs()));
    // A limit is not put off by what comes later.
    let both = [Wait::Enough, Wait::Failed, Wait::On];
    assert_eq!(
        run([EndsAfter(10), EndsAfter(11), Talks], both).await,
        (vec![Role::P3], 40)
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_taken_and_not_answered_is_given_up_and_its_party_named() {
    let parties = parties();
    let start = Instant::now();
    let [one, ..] = parties.each();
    let silent = one
        .ask(Patience::NONE, &Quiet, async || {
            pending::<Result<(), Status>>().await
        })
        .await
        .expect_err("no answer");
    assert_eq!((start.elapsed(), silent.role), (ANSWER, Role::P1));
    assert!(silent.is_unreachable());
    assert!(silent.to_string().contains("no answer in time"), "{silent}");
    let heard = Heard::new();
    let silent = heard.within(pending::<Result<(), Status>>()).await;
    assert_eq!(silent.expect_err("silent").code(), tonic::Code::DeadlineExceeded);
    assert_eq!(start.elapsed(), ANSWER + SILENCE);
}
