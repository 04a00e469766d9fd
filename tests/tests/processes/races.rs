//! Several processes make, open, use, remove and clear up one topic at the same moment.

use crate::stage;
use memlane_tests::clock::since_boot;
use memlane_tests::role::{Command, Order, Place, Role};
use memlane_tests::stage::{Actor, Stage};
use std::time::Duration;

const PROCESSES: usize = 4;
const ROUNDS: usize = 600;

fn crowd(stage: &Stage) -> Vec<Actor> {
    let crowd: Vec<Actor> = (0..PROCESSES).map(|_| stage.start(&Role::Obey)).collect();
    for actor in &crowd {
        actor.await_ready();
    }
    crowd
}

/// Has each do its command, all at the same moment; gives what came of it.
fn all_at_once(crowd: &mut [Actor], command: impl Fn(usize) -> Command) -> Vec<Result<u64, String>> {
    let at_ns = (since_boot() + Duration::from_millis(2)).as_nanos() as u64;
    for (index, actor) in crowd.iter_mut().enumerate() {
        actor.order(&Order { at_ns, command: command(index) });
    }
    crowd.iter().map(Actor::answer).collect()
}

fn assert_errors(answers: &[Result<u64, String>], expected: &[&str]) {
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(expected.iter().any(|expected| error.contains(expected)), "{error}");
    }
}

fn winners(answers: &[Result<u64, String>]) -> usize {
    answers.iter().filter(|answer| answer.is_ok()).count()
}

#[test]
fn of_several_makers_and_of_several_removers_one_wins_each_time() {
    let stage = stage();
    let place = stage.place("raced");
    let mut crowd = crowd(&stage);
    for _ in 0..ROUNDS {
        let made = all_at_once(&mut crowd, |_| Command::Create(place.clone()));
        assert_eq!(winners(&made), 1, "{made:?}");
        assert_errors(&made, &["a topic of that name exists already"]);
        let removed = all_at_once(&mut crowd, |_| Command::Remove(place.clone()));
        assert_eq!(winners(&removed), 1, "{removed:?}");
        assert_errors(&removed, &["there is no such topic"]);
        assert_eq!((stage.bus().topics().unwrap(), stage.leftovers()), (vec![], vec![]));
    }
}

#[test]
fn of_several_who_open_or_create_all_get_the_same_topic() {
    let stage = stage();
    let place = stage.place("raced");
    let mut crowd = crowd(&stage);
    for _ in 0..ROUNDS {
        let opened = all_at_once(&mut crowd, |_| Command::OpenOrCreate(place.clone()));
        assert_eq!(winners(&opened), PROCESSES, "{opened:?}");
        assert!(opened.windows(2).all(|pair| pair[0] == pair[1]), "{opened:?}");
        stage.bus().remove("raced").unwrap();
    }
    assert_eq!(stage.leftovers(), [""; 0]);
}

#[test]
fn making_using_removing_and_clearing_up_at_once_ends_well_or_with_a_clear_error() {
    let stage = stage();
    let place = stage.place("raced");
    let mut crowd = crowd(&stage);
    let all: [fn(Place) -> Command; 6] = [
        Command::OpenOrCreate,
        Command::Remove,
        Command::PublishOne,
        Command::JoinOnce,
        Command::CollectGarbage,
        Command::Create,
    ];
    let mut successes = [0; 6];
    for round in 0..ROUNDS * 4 {
        // A topic is there half of the time when they begin.
        if round % 2 == 0 {
            stage.bus().topic("raced").unwrap().capacity_bytes(16384).open_or_create().unwrap();
        }
        let choice = |index: usize| (round * 7 / 3 + index * (1 + round % 5)) % all.len();
        let answers = all_at_once(&mut crowd, |index| all[choice(index)](place.clone()));
        let expected =
            ["a topic of that name exists already", "there is no such topic", "the topic was removed: open it again"];
        assert_errors(&answers, &expected);
        for (index, answer) in answers.iter().enumerate() {
            successes[choice(index)] += u32::from(answer.is_ok());
        }
    }
    println!("open or create, remove, publish, join, collect garbage, create: {successes:?} times");
    assert!(successes.iter().all(|count| *count > 0), "{successes:?}");
    let _ = stage.bus().remove("raced");
    assert_eq!((stage.bus().topics().unwrap(), stage.leftovers()), (vec![], vec![]));
}

#[test]
fn who_clears_up_never_keeps_a_publisher_out() {
    let stage = stage();
    let (_, place) = stage.topic("raced", |topic| topic.capacity_bytes(16384));
    let mut crowd = crowd(&stage);
    for _ in 0..ROUNDS * 2 {
        let answers = all_at_once(&mut crowd, |index| match index {
            0 => Command::PublishOneAtOnce(place.clone()),
            _ => Command::CollectGarbage(place.clone()),
        });
        assert_eq!(winners(&answers), PROCESSES, "{answers:?}");
    }
}
