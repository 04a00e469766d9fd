//! A process with permission to write writes random bits and words anywhere in a topic's files while others use it. They report what
//! they find or go on; none of them panics, hangs, or dies of a signal.

use crate::stage;
use memlane::{Publishers, TopicBuilder};
use memlane_tests::random::Random;
use memlane_tests::role::{Manner, Publish, Role, Subscribe, Way};
use memlane_tests::stage::Actor;
use std::time::Duration;

/// Topics that are ruined, of each kind.
const ROUNDS: u64 = 8;
/// How long each is used meanwhile.
const TIME: Duration = Duration::from_millis(900);

/// Everybody uses a topic that is being ruined; then all are told to stop, and have to.
fn ruin(choose: impl Fn(TopicBuilder) -> TopicBuilder) {
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let stage = stage();
        let (topic, place) = stage.topic("ruin", |topic| choose(topic).capacity_bytes(16384).subscribers_max(16));
        let mut actors = Vec::new();
        for (manner, batch, spin) in [
            (Manner::Gated, false, false),
            (Manner::Gated, true, true),
            (Manner::Lossy, false, false),
            (Manner::Lossy, true, true),
            (Manner::Latest, false, false),
        ] {
            let plan = Subscribe { batch, spin, forgiving: true, ..Subscribe::new(&place).manner(manner) };
            actors.push(stage.start(&Role::Subscribe(plan)));
        }
        for sender in 0..2 {
            let plan = Publish { way: Way::Mixed, forgiving: true, pause_us: 20, ..Publish::new(&place, sender) };
            actors.push(stage.start(&Role::Publish(plan)));
            if topic.info().options.publishers == Publishers::One {
                break;
            }
        }
        for actor in &actors {
            actor.await_ready();
        }
        let churn = stage.start(&Role::Churn { place: place.clone() });
        churn.await_ready();
        actors.push(churn);
        let directory = topic.directory().to_path_buf();
        let mut damage = stage.start(&Role::Damage { directory, seed: seed.wrapping_add(round) });
        damage.await_ready();
        damage.go();
        std::thread::sleep(TIME);
        damage.ask_to_stop();
        println!("round {round}: {} words ruined", damage.answer().unwrap());
        actors.iter_mut().for_each(Actor::ask_to_stop);
        for actor in &mut actors {
            seen.push(actor.errors());
            actor.await_success();
        }
    }
    let errors: Vec<String> = seen.into_iter().flatten().collect();
    for kind in ["corrupt frame", "memory is corrupt", "malformed", "removed", "torn", "comes next", "lost"] {
        println!("{kind:>20}: {}", errors.iter().filter(|error| error.contains(kind)).count());
    }
    assert!(!errors.is_empty(), "the damage did nothing");
}

#[test]
fn random_damage_to_a_topic_of_one_publisher_is_an_error_and_never_a_crash() {
    ruin(|topic| topic);
}

#[test]
fn random_damage_to_a_topic_of_many_publishers_is_an_error_and_never_a_crash() {
    ruin(|topic| topic.publishers(Publishers::Many(4)));
}
