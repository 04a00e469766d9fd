//! Deaths: a publisher loses its locks at a named place and does nothing more.
//!
//! While it lives and dies, the others run beside it; what the others make of what it left is then looked at
//! step by step, without a choice of orders. Whoever waits, waits there: a loop that waits for another thread would have
//! loom try every number of turns.

use crate::kit::{Crossing, check, publish, publish_all};
use loom::thread;
use memlane_ring::model::{self, CELL, Seen, Topic};
use memlane_ring::{ClaimError, Gated, ManyPublisher, OnePublisher, Publishers, Start};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

/// Reads what is there, and skips what the dead left.
fn read_all(gated: &mut Gated, seen: &mut Vec<Seen>) {
    loop {
        match model::read_gated(gated).unwrap() {
            Some(message) => seen.push(message),
            None if gated.look_round().unwrap() => {}
            None => break,
        }
    }
}

fn numbers(seen: &[Seen], of: impl Fn(u64) -> bool) -> Vec<u64> {
    seen.iter().map(|(_, number)| *number).filter(|number| of(*number)).collect()
}

/// A batch of the messages 0 and 1.
fn batch<P>(publisher: &mut P, publish_batch: impl Fn(&mut P, &[&[u8]]) -> Result<usize, ClaimError>) -> u64 {
    match publish_batch(publisher, &[&model::message(0, 2), &model::message(1, 2)]) {
        Ok(count) => count as u64,
        Err(ClaimError::Full) => 0,
        Err(error) => panic!("{error}"),
    }
}

/// What a publisher that dies at `point`, in the middle of the messages `0..`, has left for others to see.
struct Left {
    /// Those whose publishing returned.
    returned: RefCell<Vec<u64>>,
    /// Whether the one it died in was committed.
    and_one: Option<bool>,
}

impl Left {
    fn by(point: &str) -> Self {
        let and_one = match point {
            "commit.after" | "wake.before" | "wake.rung" => Some(true),
            // Reclaiming, which comes before a commit that finds no room, or after one that leaves little.
            _ if point.starts_with("reclaim") => None,
            _ => Some(false),
        };
        Self { returned: RefCell::default(), and_one }
    }

    fn note(&self, numbers: impl IntoIterator<Item = u64>) {
        self.returned.borrow_mut().extend(numbers);
    }

    fn check(&self, died: bool, seen: &[u64]) {
        let returned = self.returned.borrow().len();
        assert_eq!(seen[..returned], self.returned.borrow()[..], "a message that was published is missing");
        let more = seen.len() - returned;
        match self.and_one {
            Some(and_one) if died => assert_eq!(more, usize::from(and_one)),
            _ => assert!(more <= usize::from(died)),
        }
    }
}

/// Runs `model` in every order; it says whether the publisher came by its point of death, which it must in some of them.
fn check_deaths(preemptions: usize, model: impl Fn() -> bool + Send + Sync + 'static) {
    let deaths = Arc::new(Mutex::new(0_u64));
    let counted = deaths.clone();
    check(preemptions, move || *counted.lock().unwrap() += u64::from(model()));
    let deaths = *deaths.lock().unwrap();
    assert!(deaths > 0, "nobody died");
    println!("  {deaths} deaths");
}

/// A ring that is used up to its last cell, or to its middle for a batch, with a subscriber that has read all of it.
fn used_topic<P: model::Publish>(
    publishers: Publishers,
    point: &str,
    publisher: impl Fn(&Topic) -> P,
) -> (Topic, P, Gated) {
    // A batch of two messages takes two cells, and at most a quarter of the ring.
    let (cells, used) = if point == "batch.half" { (8, 4) } else { (4, 3) };
    let topic = Topic::new(cells, publishers, 1);
    let mut publisher = publisher(&topic);
    let mut gated = topic.gated(Start::Earliest).unwrap();
    for number in 1000..1000 + used {
        publish(&mut publisher, number, 2).unwrap();
        model::read_gated(&mut gated).unwrap().unwrap();
    }
    (topic, publisher, gated)
}

/// Publishes two messages, and dies at `point`. Who holds the lock is one, so its successor comes after it in any case.
fn one_lives_until(point: &'static str, publisher: OnePublisher, left: &Left) -> bool {
    let life = |publisher: &mut OnePublisher| {
        if point == "batch.half" {
            return left.note(0..batch(publisher, |one, payloads| one.publish_batch(&mut payloads.iter())));
        }
        (0..2).for_each(|number| left.note(publish(publisher, number, 2).map(|seen| seen.1)));
    };
    model::live_until(point, publisher, life).is_none()
}

fn one_dies_and_its_successor_goes_on(point: &'static str) {
    check_deaths(2, move || {
        let (topic, publisher, mut gated) = used_topic(Publishers::One, point, |topic| topic.one().unwrap());
        let left = Rc::new(Left::by(point));
        let leaving = left.clone();
        let publishing = thread::spawn(move || {
            let died = one_lives_until(point, publisher, &leaving);
            let mut successor = topic.one().expect("the lock is free");
            let published = publish_all(&mut successor, 100, &[2]).len();
            (died, successor, published)
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            seen.extend(model::read_gated(&mut gated).unwrap());
            assert!(!gated.look_round().unwrap());
        }
        let (died, mut successor, published) = publishing.join().unwrap();
        let next = 100 + published as u64;
        for number in next..next + 5 {
            read_all(&mut gated, &mut seen);
            publish(&mut successor, number, 2).expect("all was read");
        }
        read_all(&mut gated, &mut seen);
        assert!(seen.is_sorted() && numbers(&seen, |number| number >= 100).into_iter().eq(100..next + 5), "{seen:?}");
        left.check(died, &numbers(&seen, |number| number < 100));
        died
    });
}

/// Publishes a message, or a batch of two, and dies at `point`.
fn one_of_many_lives_until(point: &'static str, publisher: ManyPublisher, left: &Left) -> bool {
    let life = |publisher: &mut ManyPublisher| {
        if point == "batch.half" {
            return left.note(0..batch(publisher, ManyPublisher::publish_batch));
        }
        if point.starts_with("reclaim") {
            let _ = model::make_room(publisher, 2 * CELL);
        }
        left.note(publish(publisher, 0, 2).map(|seen| seen.1));
    };
    model::live_until(point, publisher, life).is_none()
}

/// The second publisher, and a third that takes over the slot of the first, publish over two laps after a death.
fn others_go_on(topic: &Topic, mut second: ManyPublisher, mut gated: Gated, seen: &mut Vec<Seen>) {
    let next = |seen: &[Seen], of: u64| numbers(seen, |number| (of..of + 100).contains(&number)).len() as u64 + of;
    // The subscriber skips the dead publisher's claim before anybody has made it padding.
    read_all(&mut gated, seen);
    for number in (next(seen, 100)..).take(3) {
        publish(&mut second, number, 2).expect("all was read");
        read_all(&mut gated, seen);
    }
    let mut third = topic.many();
    for _ in 0..3 {
        publish(&mut third, next(seen, 200), 2).expect("all was read");
        read_all(&mut gated, seen);
        publish(&mut second, next(seen, 100), 2).expect("all was read");
        read_all(&mut gated, seen);
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(numbers(seen, |number| (100..200).contains(&number)).into_iter().eq(100..next(seen, 100)), "{seen:?}");
    assert!(numbers(seen, |number| (200..300).contains(&number)).into_iter().eq(200..203), "{seen:?}");
}

fn one_of_many_dies_and_the_others_go_on(point: &'static str) {
    check_deaths(2, move || {
        let (topic, first, mut gated) = used_topic(Publishers::Many(2), point, Topic::many);
        let mut second = topic.many();
        let (left, crossing) = (Rc::new(Left::by(point)), Rc::new(Crossing::default()));
        let (leaving, at_death) = (left.clone(), crossing.clone());
        let mortal = thread::spawn(move || {
            let died = one_of_many_lives_until(point, first, &leaving);
            at_death.pass();
            died
        });
        let survivor = thread::spawn(move || {
            let published = publish_all(&mut second, 100, &[2]);
            (second, published)
        });
        let mut seen = Vec::new();
        for _ in 0..2 {
            crossing.pass();
            seen.extend(model::read_gated(&mut gated).unwrap());
            let _ = gated.look_round().unwrap();
        }
        let died = mortal.join().unwrap();
        let (second, published) = survivor.join().unwrap();
        others_go_on(&topic, second, gated, &mut seen);
        assert!(published.iter().all(|message| seen.contains(message)), "{seen:?}, but {published:?}");
        left.check(died, &numbers(&seen, |number| number < 100));
        died
    });
}

/// A claim of the dead lies in the log, and whoever takes over the slot looks for it while the log moves on.
#[test]
fn the_slot_of_a_dead_publisher_is_taken_over_while_another_publishes() {
    check(3, || {
        let (topic, first, gated) = used_topic(Publishers::Many(2), "claim.tail_moved", Topic::many);
        let mut second = topic.many();
        let left = Left::by("claim.tail_moved");
        assert!(one_of_many_lives_until("claim.tail_moved", first, &left));
        let publishing = thread::spawn(move || {
            let published = publish_all(&mut second, 100, &[2; 2]);
            (second, published)
        });
        let third = topic.many();
        let (second, published) = publishing.join().unwrap();
        drop(third);
        let mut seen = Vec::new();
        others_go_on(&topic, second, gated, &mut seen);
        assert!(seen.starts_with(&published) && topic.abandoned() == 1, "{seen:?}, but {published:?}");
    });
}

macro_rules! deaths {
    ($of:ident: $($name:ident: $point:literal,)*) => {
        mod $of {
            $(
                #[test]
                fn $name() {
                    super::$of($point);
                }
            )*
        }
    };
}

deaths! { one_dies_and_its_successor_goes_on:
    with_a_claim: "claim.claimed",
    while_it_writes: "write.half",
    in_a_batch: "batch.half",
    before_its_commit: "commit.before",
    after_its_commit: "commit.after",
    before_it_moves_the_head: "reclaim.leased",
    after_it_moved_the_head: "reclaim.head_moved",
    after_it_looked_who_reads: "reclaim.before_limit",
}

deaths! { one_of_many_dies_and_the_others_go_on:
    with_a_claim_that_the_tail_does_not_show: "claim.claimed",
    with_a_claim: "claim.tail_moved",
    while_it_writes: "write.half",
    in_a_batch: "batch.half",
    before_its_commit: "commit.before",
    after_its_commit: "commit.after",
    before_it_rings: "wake.before",
    after_it_rang: "wake.rung",
    with_the_lease: "reclaim.leased",
    after_it_moved_the_head: "reclaim.head_moved",
    while_it_stamps: "reclaim.half_stamped",
    before_it_moves_the_limit: "reclaim.before_limit",
}
