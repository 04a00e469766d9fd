//! A transform that is killed thousands of times: what comes out is what it makes of what went in, once each, in order.

use crate::stage;
use memlane::journal::{Recorder, RecorderOptions, SyncPolicy, Turn};
use memlane::{Publisher, Publishers, Start, Subscriber, Topic};
use memlane_tests::random::Random;
use memlane_tests::role::Role;
use memlane_tests::roles::transform::outputs_of;
use memlane_tests::stage::poll_until;
use std::time::Duration;

/// How often it is killed, of each kind.
const LIVES: u32 = 2000;
/// Inputs for each life.
const INPUTS: u64 = 20;

const POINTS: &[&str] = &[
    "attach.mapped",
    "attach.locked",
    "source.named",
    "source.leased",
    "source.taken_down",
    "join.announced",
    "join.gated",
    "claim.claimed",
    "claim.tail_moved",
    "write.half",
    "commit.before",
    "commit.after",
    "reclaim.leased",
    "reclaim.head_moved",
    "read.holding",
    "release.before",
    "release.after",
];

/// This output, or the first behind it that there is.
fn first_from((mut input, mut output): (u64, u64)) -> (u64, u64) {
    while output >= outputs_of(input) {
        (input, output) = (input + 1, 0);
    }
    (input, output)
}

/// What goes in, and what comes out.
struct Ends {
    input: Publisher<[u8]>,
    recorder: Option<Recorder>,
    output: Subscriber<[u8]>,
    published: u64,
    /// The output that comes next: the number of its input, and its own.
    next: (u64, u64),
}

impl Ends {
    fn new(input: &Topic, recorder: Option<Recorder>, output: &Topic) -> Self {
        let input = input.publisher::<[u8]>().open().unwrap();
        let output = output.subscriber::<[u8]>().start(Start::Earliest).open().unwrap();
        Self { input, recorder, output, published: 0, next: first_from((0, 0)) }
    }

    fn publish(&mut self, count: u64) {
        for number in self.published..self.published + count {
            let mut payload = vec![3; 8 + number as usize % 5 * 40];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            self.input.publish_within(&payload, Duration::from_secs(60)).unwrap();
        }
        self.published += count;
        if let Some(recorder) = &mut self.recorder {
            while !matches!(recorder.turn().unwrap(), Turn::Idle) {}
        }
    }

    /// Takes what came out, each the one that is due.
    fn check(&mut self) {
        while let Some(sample) = self.output.try_receive().unwrap() {
            let word = |at: usize| u64::from_le_bytes(sample[at..at + 8].try_into().unwrap());
            assert_eq!((word(0), word(8)), self.next);
            drop(sample);
            self.next = first_from((self.next.0, self.next.1 + 1));
        }
    }

    fn is_done(&self) -> bool {
        self.next.0 >= self.published
    }
}

fn killed_over_and_over(publishers: Publishers, with_journal: bool) {
    let stage = stage();
    // Without a journal the ring keeps the inputs of many lives; with one it is overwritten all the time.
    let capacity = if with_journal { 16 << 10 } else { 4 << 20 };
    let (input, from) = stage.topic("in", |topic| topic.capacity_bytes(capacity));
    let (output, to) = stage.topic("out", |topic| topic.capacity_bytes(64 << 10).publishers(publishers));
    let directory = stage.root().join("journal");
    let options = RecorderOptions { sync: SyncPolicy::None, segment_bytes: 256 << 10, ..RecorderOptions::default() };
    let recorder = with_journal.then(|| input.record(&directory, options).unwrap().0);
    let mut ends = Ends::new(&input, recorder, &output);
    let seed = Random::seed();
    println!("MEMLANE_SEED={seed}");
    let mut random = Random::new(seed);
    let role = Role::Transform { input: from, output: to, directory: with_journal.then_some(directory) };
    let mut by_itself = 0;
    for _ in 0..LIVES {
        let crash = format!("{}:{}", random.one_of(POINTS), 1 + random.below(40) * random.below(2));
        let mut transform = stage.start_armed(&role, &crash);
        ends.publish(INPUTS);
        let pause = random.time_below(Duration::from_millis(10));
        let died = poll_until(|| {
            ends.check();
            (transform.has_ended().is_some() || ends.is_done()).then_some(())
        });
        assert!(died.is_some(), "{crash}");
        if transform.has_ended().is_none() {
            std::thread::sleep(pause / 8);
        }
        by_itself += u32::from(transform.has_ended().is_some());
        transform.kill();
        ends.check();
    }
    let mut last = stage.start(&role);
    assert!(
        poll_until(|| {
            ends.check();
            ends.is_done().then_some(())
        })
        .is_some()
    );
    last.ask_to_stop();
    last.answer().unwrap();
    ends.check();
    println!("{} inputs, killed {LIVES} times, {by_itself} of them at a place with a name", ends.published);
    assert!(by_itself > LIVES / 4, "{by_itself}");
}

#[test]
fn what_a_transform_makes_of_a_journaled_topic_comes_once_each_however_often_it_is_killed() {
    killed_over_and_over(Publishers::One, true);
}

#[test]
fn what_a_transform_makes_of_what_a_ring_holds_comes_once_each_however_often_it_is_killed() {
    killed_over_and_over(Publishers::Many(3), false);
}
