//! Thousands of random deaths under load: whatever dies wherever, the living get everything that was published, in order.

use crate::stage;
use memlane::{Event, Publishers, Topic, TopicBuilder, Watcher};
use memlane_tests::random::Random;
use memlane_tests::role::{Manner, Place, Publish, Role, Subscribe, Way};
use memlane_tests::stage::{Actor, Stage};
use nix::sys::signal::Signal;
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Each of the two runs goes on until so many have died ..
const KILLS: u32 = 1500;
/// .. but at least and at most for so long. `MEMLANE_KILL_SECONDS` says how long instead, whatever the number.
const TIME: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(45);
/// Enough to mean something on a machine so slow that the time is up before.
const KILLS_MIN: u32 = 200;
/// Longest life of a victim.
const LIFE_MAX: Duration = Duration::from_millis(30);

const PUBLISHER_POINTS: &[&str] = &[
    "attach.mapped",
    "attach.locked",
    "attach.announced",
    "claim.claimed",
    "claim.tail_moved",
    "write.half",
    "commit.before",
    "commit.after",
    "batch.half",
    "wake.before",
    "wake.rung",
    "reclaim.leased",
    "reclaim.head_moved",
    "reclaim.half_stamped",
    "reclaim.before_limit",
    "recover.before_padding",
    "leave.before",
    "leave.marked",
];
const SUBSCRIBER_POINTS: &[&str] = &[
    "join.announced",
    "join.gated",
    "read.holding",
    "release.before",
    "release.after",
    "leave.gated",
    "leave.slot_free",
];

struct Victim {
    actor: Actor,
    dies_at: Instant,
    is_killed: bool,
}

/// Starts victims, and kills them if they don't do so themselves.
struct Reaper<'a> {
    stage: &'a Stage,
    place: Place,
    many: bool,
    random: Random,
    /// How many senders there have been.
    senders: u32,
    by_themselves: u32,
    by_signal: u32,
}

impl Reaper<'_> {
    fn publisher(&mut self) -> Victim {
        let sender = if self.many { self.senders } else { 0 };
        self.senders += 1;
        let way = *self.random.one_of(&[Way::Single, Way::Batch, Way::Loan, Way::Mixed]);
        let plan = Publish { way, spin: self.random.below(4) == 0, ..Publish::new(&self.place, sender) };
        let plan = if self.many {
            Publish { reopen_every: self.random.below(2) * 20, ..plan }
        } else {
            // Where others stand by, one that has left would come back too late to know what they published.
            Publish { stand_by_ms: 60_000, resume: true, ..plan }
        };
        self.start(&Role::Publish(plan), PUBLISHER_POINTS)
    }

    fn subscriber(&mut self) -> Victim {
        let from_earliest = self.random.below(2) == 0;
        let (batch, hold_us) = (self.random.below(2) == 0, self.random.below(3) * 100);
        let rejoin_every = self.random.below(2) * 20;
        let plan = Subscribe { from_earliest, batch, hold_us, rejoin_every, ..Subscribe::new(&self.place) };
        self.start(&Role::Subscribe(plan), SUBSCRIBER_POINTS)
    }

    fn start(&mut self, role: &Role, points: &[&str]) -> Victim {
        let crash = format!("{}:{}", self.random.one_of(points), 1 + self.random.below(60) * self.random.below(4));
        let armed = self.random.below(3) > 0;
        let actor = self.stage.start_silent(role, armed.then_some(&crash));
        Victim { actor, dies_at: Instant::now() + self.random.time_below(LIFE_MAX), is_killed: false }
    }

    fn kills(&self) -> u32 {
        self.by_themselves + self.by_signal
    }

    /// Whether it is dead, by its own hand or by ours. Any other end is a fault.
    fn reap(&mut self, victim: &mut Victim) -> bool {
        let Some(status) = victim.actor.has_ended() else {
            // Nobody waits for it: dying takes its time, and meanwhile others die.
            if !victim.is_killed && Instant::now() >= victim.dies_at {
                victim.actor.signal(Signal::SIGKILL);
                victim.is_killed = true;
            }
            return false;
        };
        self.by_themselves += u32::from(!victim.is_killed);
        self.by_signal += u32::from(victim.is_killed);
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{status}");
        true
    }

    /// Deaths without end for a time: how many, and how long it took.
    fn rage(&mut self) -> (u32, Duration) {
        let mut publishers: Vec<Victim> = (0..4).map(|_| self.publisher()).collect();
        let mut subscribers: Vec<Victim> = (0..3).map(|_| self.subscriber()).collect();
        let named = std::env::var("MEMLANE_KILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let named = named.map(Duration::from_secs);
        let start = Instant::now();
        let is_over = |kills| match named {
            Some(time) => start.elapsed() >= time,
            None => start.elapsed() >= *TIME.end() || kills >= KILLS && start.elapsed() >= *TIME.start(),
        };
        while !is_over(self.kills()) {
            for victim in &mut publishers {
                if self.reap(victim) {
                    *victim = self.publisher();
                }
            }
            for victim in &mut subscribers {
                if self.reap(victim) {
                    *victim = self.subscriber();
                }
            }
            // It helps nobody who doesn't help himself, and must do no harm.
            if self.random.below(100) == 0 {
                self.stage.bus().collect_garbage().unwrap();
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        (self.kills(), start.elapsed())
    }
}

/// What a watcher told.
#[derive(Debug, Default)]
struct Told {
    joined: u64,
    left: u64,
    died: u64,
    /// Came and ended between two looks; of these, died.
    passed: (u64, u64),
}

impl Told {
    /// Watches a bus until `is_over`, and then to the end of what there is to tell.
    fn by(mut watcher: Watcher, is_over: &AtomicBool) -> Self {
        let mut told = Self::default();
        loop {
            let last = is_over.load(Ordering::Acquire);
            while let Some(event) = watcher.try_next().unwrap() {
                match event {
                    Event::Joined { .. } => told.joined += 1,
                    Event::Left { .. } => told.left += 1,
                    Event::Died { .. } => told.died += 1,
                    Event::Passed { count, died, .. } => {
                        told.passed.0 += count;
                        told.passed.1 += died;
                    }
                    Event::TopicMade { .. } => {}
                    Event::TopicRemoved { .. } => panic!("{event:?}"),
                }
            }
            if last {
                return told;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Deaths without end for a time, and a watcher that tells of each; then everything that came is compared with what was published.
fn mayhem(stage: &Stage, topic: &Topic, place: &Place, survivor: Option<Publish>) {
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let listeners: Vec<Actor> = [Manner::Gated, Manner::Lossy, Manner::Latest]
        .map(|manner| stage.start(&Role::Subscribe(Subscribe::new(place).manner(manner))))
        .into();
    for listener in &listeners {
        listener.await_ready();
    }
    let many = survivor.is_some();
    let survivor = survivor.map(|plan| stage.start(&Role::Publish(plan)));
    let mut reaper = Reaper {
        stage,
        place: place.clone(),
        many,
        random: Random::new(seed),
        senders: 2,
        by_themselves: 0,
        by_signal: 0,
    };
    let (is_over, watcher) = (Arc::new(AtomicBool::new(false)), stage.bus().watch(">".parse().unwrap()));
    let flag = Arc::clone(&is_over);
    let watching = std::thread::spawn(move || Told::by(watcher, &flag));
    let (kills, time) = reaper.rage();
    if let Some(mut survivor) = survivor {
        survivor.ask_to_stop();
        let (messages, longest_wait) = survivor.published();
        println!("the survivor published {messages} messages; its longest wait took {longest_wait:?}");
    }
    stage.publish_end(topic);
    let ledger = stage.ledger(place);
    let tallies: Vec<_> = listeners.iter().map(Actor::tally).collect();
    tallies.iter().for_each(|tally| tally.assert_clean());
    tallies[0].assert_complete(&ledger, 0..reaper.senders);
    let snapshot = topic.snapshot().unwrap();
    let has_begun = |sender: &u32| ledger.entry(*sender).unwrap().begun > 0;
    let senders = (2..reaper.senders).filter(has_begun).count() as u32;
    println!(
        "{kills} kills in {time:.1?}, {} of them at named places; {} messages in {} laps; {} abandoned claims",
        reaper.by_themselves,
        tallies[0].messages,
        snapshot.tail / topic.info().options.capacity,
        snapshot.abandoned
    );
    println!("longest gap {} µs, {} losses told to the lossy one", tallies[0].longest_gap_us, tallies[1].losses);
    assert!(snapshot.publishers.is_empty() && snapshot.subscribers.is_empty(), "{snapshot:?}");
    is_over.store(true, Ordering::Release);
    let told = watching.join().unwrap();
    println!("the watcher told of {told:?}");
    assert_eq!(told.joined, told.left + told.died, "everybody who came has ended");
    assert!(told.died + told.passed.1 <= kills.into() && told.died + told.passed.1 >= u64::from(KILLS_MIN) / 4);
    // Whoever dies between a commit and the count leaves that message, or batch, uncounted.
    let messages = tallies[0].messages;
    assert!((messages - 8 * u64::from(kills)..=messages + 1).contains(&snapshot.messages), "{messages}, {snapshot:?}");
    assert!(kills >= KILLS_MIN, "{kills} kills");
    if many {
        println!("{senders} of {} publishers that died had published", reaper.senders - 2);
        assert!(senders >= KILLS_MIN / 10, "{senders} publishers lived long enough to publish");
    }
}

fn ring(topic: TopicBuilder) -> TopicBuilder {
    topic.capacity_bytes(32768).subscribers_max(12)
}

#[test]
fn random_kills_on_a_topic_of_many_publishers_lose_and_reorder_nothing() {
    let stage = stage();
    let (topic, place) = stage.topic("many", |topic| ring(topic).publishers(Publishers::Many(16)));
    let survivor = Publish { way: Way::Mixed, ..Publish::new(&place, 1) };
    mayhem(&stage, &topic, &place, Some(survivor));
}

#[test]
fn random_kills_on_a_topic_of_one_publisher_lose_and_reorder_nothing() {
    let stage = stage();
    let (topic, place) = stage.topic("one", ring);
    mayhem(&stage, &topic, &place, None);
}
