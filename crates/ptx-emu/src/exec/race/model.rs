//! The clocks and the shadow against a model that keeps everything: one clock per thread, every
//! access ever made.

use super::clock::{Clock, Clocks, Party};
use super::shadow::{Entry, Shadow, Strength, Touch};
use crate::ir::MemoryScope;

const CTAS: usize = 2;
const WARPS: usize = 2;
const LANES: usize = 4;
const ALL: u32 = (1 << LANES) - 1;
const THREADS: usize = CTAS * WARPS * LANES;
/// The entry of a clock for the clusters before.
const PAST: usize = THREADS;
const BYTES: usize = 32;
const STRENGTHS: [Strength; 4] = [Strength::Weak, Strength::Cta, Strength::Cluster, Strength::Gpu];

type Known = [u32; THREADS + 1];

#[derive(Clone, Copy, Debug)]
struct Access {
    step: u32,
    cluster: u64,
    thread: usize,
    writes: bool,
    strength: Strength,
}

struct Model {
    step: u32,
    cluster: u64,
    known: [Known; THREADS],
    ctas: [Known; CTAS],
    in_cluster: Known,
    gpu: Known,
    last_fence: u32,
    history: Vec<Vec<Access>>,
}

fn threads(party: Party) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |lane| party.lanes >> lane & 1 != 0).map(move |lane| party.warp * LANES + lane)
}

fn join(into: &mut Known, from: &Known) {
    into.iter_mut().zip(from).for_each(|(into, from)| *into = (*into).max(*from));
}

impl Model {
    fn release(&self, party: Party, into: &mut Known) {
        for thread in threads(party) {
            join(into, &self.known[thread]);
            into[thread] = self.step;
        }
    }

    fn acquire(&mut self, party: Party, from: &Known) {
        let mut joined = *from;
        threads(party).for_each(|thread| join(&mut joined, &self.known[thread]));
        threads(party).for_each(|thread| self.known[thread] = joined);
    }

    fn fence(&mut self, party: Party, scope: MemoryScope) {
        let cta = party.warp / WARPS;
        let mut clocks = [self.ctas[cta], self.in_cluster, self.gpu];
        let reach = match scope {
            MemoryScope::Cta => 1,
            MemoryScope::Cluster => 2,
            MemoryScope::Gpu => 3,
        };
        for clock in &mut clocks[..reach] {
            self.release(party, clock);
            self.acquire(party, clock);
        }
        [self.ctas[cta], self.in_cluster, self.gpu] = clocks;
        if scope == MemoryScope::Gpu {
            self.last_fence = self.step;
        }
    }

    fn begin(&mut self, cluster: u64) {
        self.cluster = cluster;
        self.known = [[0; THREADS + 1]; THREADS];
        (self.ctas, self.in_cluster, self.gpu) = ([[0; THREADS + 1]; CTAS], [0; THREADS + 1], [0; THREADS + 1]);
        self.gpu[PAST] = self.last_fence;
    }

    /// The steps of the accesses that race with one by a thread.
    fn races(&self, now: Access, byte: usize, excused: bool) -> impl Iterator<Item = Access> {
        self.history[byte].iter().copied().filter(move |earlier| {
            let past = earlier.cluster != now.cluster;
            let known = self.known[now.thread][if past { PAST } else { earlier.thread }];
            let itself = !past && earlier.thread == now.thread;
            if itself || earlier.step < known || !(earlier.writes || now.writes) {
                return false;
            }
            let cta = |thread: usize| thread / LANES / WARPS;
            let needed = match () {
                () if past => Strength::Gpu,
                () if cta(earlier.thread) == cta(now.thread) => Strength::Cta,
                () => Strength::Cluster,
            };
            earlier.strength.min(now.strength) < needed && !(excused && earlier.writes && now.writes)
        })
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn party(&mut self) -> Party {
        let lanes = match self.below(3) {
            0 => 1 << self.below(LANES as u64),
            1 => 1 + self.below(u64::from(ALL)) as u32,
            _ => ALL,
        };
        Party { warp: self.below((CTAS * WARPS) as u64) as usize, lanes, whole: lanes == ALL }
    }
}

/// One run of random events, up to its first race. Returns how many accesses went before it.
fn run(seed: u64) -> (u32, bool) {
    let mut random = Random(seed);
    let excused = random.below(2) == 0;
    // Mostly reads, or mostly synchronisation, so that histories grow long before the first race.
    let (writes, accesses) = (1 + random.below(6), 1 + random.below(5));
    let mut clocks = Clocks::new(CTAS, WARPS);
    let mut shadow = Shadow::default();
    let mut model = Model {
        step: 0,
        cluster: 0,
        known: [[0; THREADS + 1]; THREADS],
        ctas: [[0; THREADS + 1]; CTAS],
        in_cluster: [0; THREADS + 1],
        gpu: [0; THREADS + 1],
        last_fence: 0,
        history: vec![Vec::new(); BYTES],
    };
    let mut count = 0;
    for cluster in 0..3 {
        clocks.begin(cluster);
        model.begin(cluster);
        let (mut split, mut model_split) = (Clock::default(), [0; THREADS + 1]);
        for _ in 0..60 {
            model.step += 1;
            let party = random.party();
            if random.below(6) < accesses {
                let width = 1 << random.below(5);
                let start = random.below(BYTES as u64 / width) * width;
                let writes = random.below(8) < writes;
                let strength = STRENGTHS[random.below(9).saturating_sub(5) as usize];
                // Writes come lane by lane.
                let lanes = if writes { party.lanes & party.lanes.wrapping_neg() } else { party.lanes };
                let time = clocks.now().expect("time is left");
                let now = Entry { touch: Touch::new(time, model.step, party.warp, writes, strength), lanes };
                let found = shadow.access(&clocks.view(party.warp), start..start + width, now, |_| excused);
                let (step, bytes) = (model.step, start as usize..(start + width) as usize);
                let access = |thread| Access { step, cluster, thread, writes, strength };
                let racing: Vec<Access> = bytes
                    .clone()
                    .flat_map(|byte| threads(Party { lanes, ..party }).map(move |thread| (byte, thread)))
                    .flat_map(|(byte, thread)| model.races(access(thread), byte, excused))
                    .collect();
                if let Some(found) = found {
                    let is_it = |earlier: &Access| {
                        let Entry { touch, lanes } = found.earlier;
                        let lane = earlier.thread % LANES;
                        touch.pc() == earlier.step && touch.warp() == earlier.thread / LANES && lanes >> lane & 1 != 0
                    };
                    assert!(racing.iter().any(is_it), "seed {seed}: {found:?} is no race of {now:?}, but {racing:?}");
                    return (count, true);
                }
                assert!(racing.is_empty(), "seed {seed}: missed {racing:?} with {now:?}");
                for byte in bytes {
                    model.history[byte].extend(threads(Party { lanes, ..party }).map(access));
                }
                count += 1;
                continue;
            }
            match random.below(5) {
                0 => {
                    clocks.meet(party);
                    let mut all = [0; THREADS + 1];
                    model.release(party, &mut all);
                    model.acquire(party, &all);
                }
                1 => {
                    let scope = [MemoryScope::Cta, MemoryScope::Cluster, MemoryScope::Gpu][random.below(3) as usize];
                    clocks.fence(party, scope);
                    model.fence(party, scope);
                }
                2 => {
                    // A barrier at which the first of several parties only arrives.
                    let mut parties = vec![party];
                    parties.extend((0..random.below(5)).map(|_| random.party()));
                    let (mut clock, mut all) = (Clock::default(), [0; THREADS + 1]);
                    for party in &parties {
                        clocks.release(*party, &mut clock);
                        model.release(*party, &mut all);
                    }
                    for party in &parties[1..] {
                        clocks.acquire(*party, &clock);
                        model.acquire(*party, &all);
                    }
                }
                3 => {
                    clocks.release(party, &mut split);
                    model.release(party, &mut model_split);
                }
                _ => {
                    clocks.acquire(party, &split);
                    model.acquire(party, &model_split);
                }
            }
        }
    }
    (count, false)
}

#[test]
fn what_is_found_is_what_there_is() {
    let (mut longest, mut races) = (0, 0);
    for seed in 0..20_000 {
        let (count, raced) = run(seed);
        longest = longest.max(count);
        races += u32::from(raced);
    }
    assert!(longest > 40 && races > 1000, "{longest} accesses at most, {races} races: too tame");
}
