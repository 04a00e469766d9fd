//! Publishers are killed at each named place, early and laps later, while others publish and subscribe.

use crate::{print_time, stage};
use memlane::{ClaimError, Filter, Kind, OpenError, PublishError, Publishers, TopicBuilder, TopicError};
use memlane_tests::role::{Command, Order, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Stage, await_progress};
use std::time::Duration;

/// A small ring, so that a few hundred messages are several laps.
fn small(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(16384).subscribers_max(4)
}

/// A place of dying, at a pass; and how many claims are then found abandoned.
#[derive(Clone, Copy)]
struct Death {
    point: &'static str,
    pass: u32,
    way: Way,
    abandons: u64,
}

impl Death {
    const fn new(point: &'static str, pass: u32) -> Self {
        Self { point, pass, way: Way::Mixed, abandons: 0 }
    }

    const fn way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    const fn abandons(self) -> Self {
        Self { abandons: 1, ..self }
    }

    fn is_of_coming_or_going(self) -> bool {
        self.point.starts_with("attach") || self.point.starts_with("leave")
    }

    fn arm(self) -> String {
        format!("{}:{}", self.point, self.pass)
    }

    fn print(self, what: &str, time: Duration) {
        print_time(&format!("{} {what}", self.arm()), time);
    }
}

/// One of several publishers dies. The others go on, and a subscriber gets all that was published, in order. Gives how long
/// the other publisher and the subscriber were held up at most.
fn one_of_many_dies(death: Death) -> [Duration; 2] {
    let stage = stage();
    let (topic, place) = stage.topic("many", |topic| small(topic).publishers(Publishers::Many(4)));
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut other = stage.start(&Role::Publish(Publish { way: Way::Mixed, ..Publish::new(&place, 1) }));
    other.await_ready();
    let reopen_every = if death.is_of_coming_or_going() { 40 } else { 0 };
    let plan = Publish { way: death.way, reopen_every, ..Publish::new(&place, 2) };
    let died_at = stage.start_armed(&Role::Publish(plan), &death.arm()).await_killed();
    let published = ledger.entry(1).unwrap().published;
    let went_on_at = await_progress(&ledger, 1, published + 300);
    other.ask_to_stop();
    let (_, longest_wait) = other.published();
    stage.publish_end(&topic);
    let tally = listener.tally();
    tally.assert_complete(&ledger, [1, 2]);
    assert_eq!(topic.snapshot().unwrap().abandoned, death.abandons, "{}", death.arm());
    death.print("300 messages after", went_on_at.saturating_sub(died_at));
    death.print("longest wait of the other", longest_wait);
    assert!(longest_wait < Duration::from_secs(2), "{longest_wait:?}");
    [longest_wait, Duration::from_micros(tally.longest_gap_us)]
}

/// The only publisher dies. Its stand-by goes on where it stopped, without a gap or a repeat. Gives how long it took to take
/// over, if it stood by.
fn the_only_one_dies(death: Death) -> Option<Duration> {
    let stage = stage();
    let (topic, place) = stage.topic("one", small);
    let ledger = stage.ledger(&place);
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let at_opening = death.point.starts_with("attach");
    let reopen_every = if death.is_of_coming_or_going() { 40 } else { 0 };
    let plan = Publish { way: death.way, resume: true, reopen_every, ..Publish::new(&place, 0) };
    let follower = Role::Publish(Publish { stand_by_ms: 30_000, way: Way::Mixed, reopen_every: 0, ..plan.clone() });
    let mut victim = stage.start_armed(&Role::Publish(Publish { wait_for_go: true, ..plan }), &death.arm());
    // One that has left can't come back where another stands by.
    let stands_by = !at_opening && (death.pass == 1 || !death.point.starts_with("leave"));
    let standing_by = stands_by.then(|| {
        victim.await_ready();
        let follower = stage.start(&follower);
        follower.await_stand_by();
        follower
    });
    victim.go();
    let died_at = victim.await_killed();
    let mut successor = standing_by.unwrap_or_else(|| stage.start(&follower));
    let took_over_at = successor.await_ready();
    let published = ledger.entry(0).unwrap().published;
    await_progress(&ledger, 0, published + 300);
    successor.ask_to_stop();
    successor.published();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [0]);
    let time = took_over_at.saturating_sub(died_at);
    if stands_by {
        death.print("taken over after", time);
        assert!(time < Duration::from_secs(2));
    }
    stands_by.then_some(time)
}

/// Prints the median and the longest of `times`.
fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    print_time(&format!("{what}, median of {} deaths", times.len()), times[times.len() / 2]);
    print_time(&format!("{what}, longest"), times[times.len() - 1]);
}

#[test]
fn whoever_was_held_up_by_a_dead_publisher_goes_on_in_milliseconds() {
    const DEATHS: u32 = 30;
    let one =
        (1..=DEATHS).filter_map(|death| the_only_one_dies(Death::new("commit.before", death * 7).way(Way::Single)));
    print_times("a stand-by took over after", one.collect());
    let many =
        (1..=DEATHS).map(|death| one_of_many_dies(Death::new("commit.before", death * 7).way(Way::Single).abandons()));
    let (publishers, subscribers) = many.map(|[publisher, subscriber]| (publisher, subscriber)).unzip();
    print_times("longest wait of the other publisher", publishers);
    print_times("longest gap that the subscriber saw", subscribers);
}

#[test]
fn one_of_many_publishers_killed_while_claiming_does_not_stop_the_others() {
    for pass in [1, 400] {
        one_of_many_dies(Death::new("claim.claimed", pass).abandons());
        one_of_many_dies(Death::new("claim.tail_moved", pass).abandons());
    }
}

#[test]
fn one_of_many_publishers_killed_while_writing_or_committing_does_not_stop_the_others() {
    for pass in [1, 300] {
        one_of_many_dies(Death::new("write.half", pass).abandons());
        one_of_many_dies(Death::new("write.half", pass).way(Way::Loan).abandons());
        one_of_many_dies(Death::new("commit.before", pass).way(Way::Single).abandons());
        one_of_many_dies(Death::new("commit.after", pass));
        one_of_many_dies(Death::new("batch.half", pass).way(Way::Batch).abandons());
    }
}

#[test]
fn one_of_many_publishers_killed_while_reclaiming_does_not_stop_the_others() {
    for pass in [1, 12] {
        for point in ["reclaim.leased", "reclaim.head_moved", "reclaim.half_stamped", "reclaim.before_limit"] {
            one_of_many_dies(Death::new(point, pass));
        }
    }
}

#[test]
fn one_of_many_publishers_killed_while_opening_does_not_stop_the_others() {
    for pass in [1, 5] {
        one_of_many_dies(Death::new("attach.mapped", pass));
        one_of_many_dies(Death::new("attach.locked", pass));
        one_of_many_dies(Death::new("attach.announced", pass));
    }
}

#[test]
fn a_publisher_killed_while_it_leaves_does_not_stop_the_others_nor_its_successor() {
    for pass in [1, 3] {
        for point in ["leave.before", "leave.marked"] {
            one_of_many_dies(Death::new(point, pass));
            the_only_one_dies(Death::new(point, pass));
        }
    }
}

#[test]
fn the_only_publisher_killed_while_publishing_is_followed_without_a_gap() {
    for pass in [1, 300] {
        the_only_one_dies(Death::new("claim.claimed", pass));
        the_only_one_dies(Death::new("write.half", pass));
        the_only_one_dies(Death::new("write.half", pass).way(Way::Loan));
        the_only_one_dies(Death::new("commit.before", pass).way(Way::Single));
        the_only_one_dies(Death::new("commit.after", pass));
        the_only_one_dies(Death::new("batch.half", pass).way(Way::Batch));
    }
}

#[test]
fn the_only_publisher_killed_while_reclaiming_or_opening_is_followed_without_a_gap() {
    for pass in [1, 5, 40] {
        for point in ["reclaim.leased", "reclaim.head_moved", "reclaim.before_limit"] {
            the_only_one_dies(Death::new(point, pass));
        }
        the_only_one_dies(Death::new("attach.locked", pass.min(9)));
    }
}

/// A topic with a claim that its owner, slot 0, did not live to commit; and the others are there already.
fn with_an_abandoned_claim(stage: &Stage, start_others: impl FnOnce(&Stage)) {
    let (_, place) = stage.topic("many", |topic| small(topic).publishers(Publishers::Many(4)));
    let plan = Publish { wait_for_go: true, ..Publish::new(&place, 1) };
    let mut victim = stage.start_armed(&Role::Publish(plan), "commit.before:50");
    victim.await_ready();
    start_others(stage);
    victim.go();
    victim.await_killed();
}

#[test]
fn a_publisher_killed_while_it_clears_up_after_a_dead_one_in_whose_slot_it_is_does_not_stop_the_others() {
    let stage = stage();
    with_an_abandoned_claim(&stage, |_| ());
    let place = stage.place("many");
    let (topic, ledger) = (place.open().unwrap(), stage.ledger(&place));
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let second = Role::Publish(Publish::new(&place, 2));
    stage.start_armed(&second, "recover.before_padding").await_killed();
    assert_eq!(topic.snapshot().unwrap().abandoned, 0, "it died before it had cleared up");
    let mut third = stage.start(&Role::Publish(Publish::new(&place, 3)));
    await_progress(&ledger, 3, 300);
    third.ask_to_stop();
    third.published();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [1, 2, 3]);
    assert_eq!(topic.snapshot().unwrap().abandoned, 1);
}

#[test]
fn a_publisher_killed_while_it_makes_room_past_a_dead_ones_claim_does_not_stop_the_others() {
    let stage = stage();
    let mut second = None;
    with_an_abandoned_claim(&stage, |stage| {
        let plan = Publish { wait_for_go: true, ..Publish::new(&stage.place("many"), 2) };
        let actor = second.insert(stage.start_armed(&Role::Publish(plan), "recover.before_padding"));
        actor.await_ready();
    });
    let place = stage.place("many");
    let (topic, ledger) = (place.open().unwrap(), stage.ledger(&place));
    let listener = stage.start(&Role::Subscribe(Subscribe::new(&place)));
    listener.await_ready();
    let mut second = second.unwrap();
    second.go();
    second.await_killed();
    let mut third = stage.start(&Role::Publish(Publish::new(&place, 3)));
    await_progress(&ledger, 3, 300);
    third.ask_to_stop();
    third.published();
    stage.publish_end(&topic);
    listener.tally().assert_complete(&ledger, [1, 2, 3]);
    assert_eq!(topic.snapshot().unwrap().abandoned, 1);
}

#[test]
fn a_subscriber_with_a_filter_gets_past_a_dead_publishers_claim() {
    let stage = stage();
    let mut subscribers = Vec::new();
    with_an_abandoned_claim(&stage, |stage| {
        let topic = stage.place("many").open().unwrap();
        let open = |kind| topic.subscriber::<[u8]>().kind(kind).filter(Filter::key("wanted")).open().unwrap();
        subscribers.extend([Kind::Gated, Kind::Lossy, Kind::Latest].map(open));
    });
    let mut publisher = stage.place("many").open().unwrap().publisher::<[u8]>().open().unwrap();
    publisher.message().key(b"wanted").unwrap().publish_within(b"behind it", Duration::from_secs(2)).unwrap();
    for subscriber in &mut subscribers {
        let found = subscriber.receive_within(Duration::from_secs(2)).unwrap();
        assert_eq!(found.as_deref(), Some(&b"behind it"[..]));
    }
}

#[test]
fn a_maker_killed_while_it_makes_a_topic_leaves_its_name_free() {
    let stage = stage();
    for point in ["create.staged", "create.sized", "create.before_rename"] {
        let place = stage.place("half-made");
        let role = Role::Create { place: place.clone(), capacity_bytes: 1 << 20 };
        stage.start_armed(&role, point).await_killed();
        let open = stage.bus().topic("half-made").unwrap().open();
        assert!(matches!(open.unwrap_err(), OpenError::Topic(TopicError::NotFound { .. })), "{point}");
        assert_eq!(stage.bus().topics().unwrap(), [""; 0], "half-made topics are not listed");
        let mut maker = stage.start(&role);
        maker.answer().unwrap();
        maker.await_success();
        stage.bus().remove("half-made").unwrap();
    }
    assert_eq!(stage.leftovers().len(), 3);
    // What is younger than a second may still be in the making.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(stage.bus().collect_garbage().unwrap().directories, 3);
    assert_eq!(stage.leftovers(), [""; 0]);
}

#[test]
fn what_a_remover_that_was_killed_had_no_time_to_say_is_said_when_its_garbage_is_collected() {
    let stage = stage();
    let (topic, place) = stage.topic("removed", small);
    let listener = stage.start(&Role::Subscribe(Subscribe { patient: true, ..Subscribe::new(&place) }));
    listener.await_ready();
    let mut publisher = topic.publisher::<[u8]>().open().unwrap();
    let mut remover = stage.start_armed(&Role::Obey, "remove.hidden");
    remover.order(&Order { at_ns: 0, command: Command::Remove(place) });
    remover.await_killed();
    assert_eq!(stage.bus().topics().unwrap(), [""; 0], "the name is free");
    publisher.publish(&[0; 100]).expect("who has it open goes on for now");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(stage.bus().collect_garbage().unwrap().directories, 1);
    let errors = listener.tally().errors;
    assert!(errors.len() == 1 && errors[0].contains("the topic was removed"), "{errors:?}");
    assert_eq!(publisher.publish(b"late").unwrap_err(), PublishError::Claim(ClaimError::Removed));
    assert_eq!(stage.leftovers(), [""; 0]);
}

#[test]
fn more_deaths_than_slots_leave_slots_for_the_living() {
    let stage = stage();
    let (topic, place) = stage.topic("many", |topic| small(topic).publishers(Publishers::Many(2)));
    for (sender, point) in ["claim.claimed:3", "reclaim.leased", "commit.before:3"].iter().enumerate() {
        let plan = Publish { spin: sender.is_multiple_of(2), ..Publish::new(&place, sender as u32) };
        stage.start_armed(&Role::Publish(plan), point).await_killed();
    }
    let living: Vec<_> = (0..2).map(|_| topic.publisher::<[u8]>().open().unwrap()).collect();
    assert_eq!(topic.snapshot().unwrap().publishers.len(), living.len());
    let refused = topic.publisher::<[u8]>().open().unwrap_err().to_string();
    assert!(refused.contains("all 2 publisher slots are taken"), "{refused}");
}
