//! Deaths: a publisher loses its locks at a named place and does nothing more.

use crate::kit::{check, publish, publish_all};
use loom::thread;
use memlane_ring::model::{self, CELL, Mortal, Seen, Topic};
use memlane_ring::{Gated, ManyPublisher, Publishers, Start};
use std::cell::RefCell;
use std::rc::Rc;

/// Polls, and looks after the dead, until `enough`.
fn poll_until(gated: &mut Gated, seen: &mut Vec<Seen>, enough: impl Fn(&[Seen]) -> bool) {
    while !enough(seen) {
        match model::read_gated(gated).unwrap() {
            Some(message) => seen.push(message),
            None if gated.look_round().unwrap() => {}
            None => thread::yield_now(),
        }
    }
}

fn numbers(seen: &[Seen], of: impl Fn(u64) -> bool) -> Vec<u64> {
    seen.iter().map(|(_, number)| *number).filter(|number| of(*number)).collect()
}

/// Publishes messages of 2 words until each is in.
fn insist(publisher: &mut ManyPublisher, messages: std::ops::Range<u64>) {
    for number in messages {
        while publish(publisher, number, 2).is_none() {
            thread::yield_now();
        }
    }
}

/// What a publisher that dies at `point`, in the middle of the messages `0..`, has left for others to see.
struct Left {
    /// Those whose publishing returned.
    returned: Rc<RefCell<Vec<u64>>>,
    /// Whether the one it died in was committed.
    and_one: Option<bool>,
}

impl Left {
    fn by(point: &str) -> Self {
        let and_one = match point {
            "claim.in_flight" | "claim.claimed" | "claim.tail_moved" | "write.half" | "commit.before" => Some(false),
            "commit.after" => Some(true),
            // Reclaiming, which comes before a commit that finds no room, or after one that leaves little.
            _ => None,
        };
        Self { returned: Rc::default(), and_one }
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

fn one_dies_and_its_successor_goes_on(point: &'static str) {
    check(2, move || {
        let topic = Rc::new(Topic::new(4, Publishers::One, 1));
        let mut publisher = topic.one().unwrap();
        let mut gated = topic.gated(Start::Earliest).unwrap();
        for number in 1000..1003 {
            publish(&mut publisher, number, 2).unwrap();
            model::read_gated(&mut gated).unwrap().unwrap();
        }
        let left = Rc::new(Left::by(point));
        let leaving = left.clone();
        let mortal = thread::spawn(move || {
            let returned = &leaving.returned;
            model::live_until(point, publisher, |publisher| {
                (0..2)
                    .for_each(|number| returned.borrow_mut().extend(publish(publisher, number, 2).map(|seen| seen.1)));
            })
            .is_none()
        });
        let standing_by = topic.clone();
        let successor = thread::spawn(move || {
            let mut publisher = loop {
                match standing_by.one() {
                    Some(publisher) => break publisher,
                    None => thread::yield_now(),
                }
            };
            let published = publish_all(&mut publisher, 100, &[2; 2]);
            (publisher, published)
        });
        let mut seen = Vec::new();
        seen.extend(model::read_gated(&mut gated).unwrap());
        let died = mortal.join().unwrap();
        let (mut publisher, published) = successor.join().unwrap();
        let next = 100 + published.len() as u64;
        poll_until(&mut gated, &mut seen, |seen| numbers(seen, |number| number >= 100).len() == published.len());
        for number in next..next + 5 {
            publish(&mut publisher, number, 2).expect("all was read");
            seen.push(model::read_gated(&mut gated).unwrap().unwrap());
        }
        assert!(seen.is_sorted() && numbers(&seen, |number| number >= 100).into_iter().eq(100..next + 5), "{seen:?}");
        left.check(died, &numbers(&seen, |number| number < 100));
    });
}

#[test]
fn a_publisher_dies_at_any_step_and_its_successor_goes_on() {
    for point in [
        "claim.claimed",
        "write.half",
        "commit.before",
        "commit.after",
        "reclaim.leased",
        "reclaim.head_moved",
        "reclaim.before_limit",
    ] {
        println!("{point}");
        one_dies_and_its_successor_goes_on(point);
    }
}

fn one_of_many_dies_and_the_others_go_on(point: &'static str) {
    check(2, move || {
        let topic = Topic::new(4, Publishers::Many(2), 1);
        let (mut first, mut second) = (topic.many(), topic.many());
        let mut gated = topic.gated(Start::Earliest).unwrap();
        for number in 1000..1003 {
            publish(&mut first, number, 2).unwrap();
            model::read_gated(&mut gated).unwrap().unwrap();
        }
        let left = Rc::new(Left::by(point));
        let leaving = left.clone();
        let mortal = thread::spawn(move || {
            let returned = &leaving.returned;
            model::live_until(point, first, |publisher| {
                (0..2)
                    .for_each(|number| returned.borrow_mut().extend(publish(publisher, number, 2).map(|seen| seen.1)));
            })
            .is_none()
        });
        let survivor = thread::spawn(move || {
            insist(&mut second, 100..102);
            second
        });
        let mut seen = Vec::new();
        poll_until(&mut gated, &mut seen, |seen| numbers(seen, |number| number >= 100).len() == 2);
        let died = mortal.join().unwrap();
        let mut second = survivor.join().unwrap();
        // Its slot can be had, and what it left is cleared away by whoever takes it or comes by.
        let mut third = topic.many();
        for number in 102..105 {
            insist(&mut second, number..number + 1);
            insist(&mut third, number + 100..number + 101);
            poll_until(&mut gated, &mut seen, |seen| seen.last().is_some_and(|seen| seen.1 == number + 100));
        }
        assert!(seen.is_sorted(), "{seen:?}");
        let of_second = numbers(&seen, |number| (100..200).contains(&number));
        assert!(of_second.into_iter().eq(100..105), "{seen:?}");
        left.check(died, &numbers(&seen, |number| number < 100));
        drop((second, third));
    });
}

macro_rules! deaths {
    ($($name:ident: $point:literal,)*) => {$(
        #[test]
        fn $name() {
            one_of_many_dies_and_the_others_go_on($point);
        }
    )*};
}

deaths! {
    one_of_many_dies_with_its_hazard_up: "claim.in_flight",
    one_of_many_dies_with_a_claim_that_the_tail_does_not_show: "claim.claimed",
    one_of_many_dies_with_a_claim: "claim.tail_moved",
    one_of_many_dies_while_it_writes: "write.half",
    one_of_many_dies_before_its_commit: "commit.before",
    one_of_many_dies_after_its_commit: "commit.after",
    one_of_many_dies_with_the_lease: "reclaim.leased",
    one_of_many_dies_after_it_moved_the_head: "reclaim.head_moved",
    one_of_many_dies_while_it_stamps: "reclaim.half_stamped",
    one_of_many_dies_before_it_moves_the_limit: "reclaim.before_limit",
}
