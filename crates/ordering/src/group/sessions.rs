//! What stores have said in their live sessions, and nothing else. Soft: a new leader begins with none.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_types::limits::{OPEN_LOGS_PER_GROUP_MAX, TOPICS_PER_GROUP_MAX};
use trunkline_types::{Boot, LogName, NodeId, TopicId};

use super::digest::digest;

/// Ticks without a word after which a session counts no more. Stores send a digest in each.
pub const SILENT_TICKS_MAX: u64 = 5;

/// Where a store's word came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub store: NodeId,
    pub boot: Boot,
}

/// One store's present session.
#[derive(Clone, Debug)]
pub struct Session {
    pub boot: Boot,
    pub number: u64,
    heard: u64,
    /// On disk there up to, exclusive: every log that it has named and not taken back.
    held: BTreeMap<LogName, u64>,
    /// Its digest has agreed: all that there is was told, and since then what changes.
    is_told: bool,
    /// At the last digest: a log of which it holds more than is ordered, where its next record is not known.
    doubt: Option<(LogName, u64)>,
}

/// How far a store has the facts on disk, and what it has of the logs whose end they name. Beyond that index it has
/// said nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldVector {
    pub facts_index: u64,
    /// How much exactly is there (exclusive) of each log that has come to its end by those facts and is not closed.
    pub ended: BTreeMap<LogName, u64>,
    /// Closed logs that end short there.
    pub lacking: BTreeSet<LogName>,
    /// What has changed of topics since it was last said. Of the others what was said before stands.
    pub topics: Vec<(TopicId, HeldTopic)>,
}

/// What a store has of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldTopic {
    /// The IDs below it can be read there, but for what was trimmed.
    pub readable: u64,
    /// The IDs below it are beyond what the topic keeps in bytes.
    pub beyond: u64,
}

/// A store's newest held vector.
#[derive(Clone, Debug)]
struct Word {
    boot: Boot,
    heard: u64,
    held: HeldVector,
    topics: BTreeMap<TopicId, HeldTopic>,
}

/// All stores' sessions and held vectors.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    sessions: BTreeMap<NodeId, Session>,
    words: BTreeMap<NodeId, Word>,
    /// Stores that were asked to report anew under a higher session than this.
    asked: BTreeMap<NodeId, (Boot, u64)>,
    now: u64,
}

/// What a report's session is to what is known of its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The live session, or a new one that voids the one before.
    Live,
    /// Of an older boot or session, or of a second directory with the same boot counter.
    Old,
    /// Its beginning is not known here.
    Unknown,
}

/// Whether the word of `boot` comes too late after one of `known`: of an older boot, or of another one with the same
/// counter. Then there are two data directories of one identity, and which is the right one cannot be known: the one
/// that is heard counts for as long as it is. (Its followers tell the other to stop, see `store::boots`.)
fn is_superseded(boot: Boot, known: Boot) -> bool {
    boot.counter < known.counter || (boot.counter == known.counter && boot.random != known.random)
}

impl Sessions {
    /// Whether a report under (`source`, `number`) counts; one that is its session's `first` begins it.
    pub fn admit(&mut self, source: Source, number: u64, first: bool) -> Admission {
        let known = self.sessions.get_mut(&source.store);
        if let Some(known) = known {
            if is_superseded(source.boot, known.boot) || (source.boot == known.boot && number < known.number)
            {
                return Admission::Old;
            }
            if !first && (known.boot, known.number) == (source.boot, number) {
                known.heard = self.now;
                return Admission::Live;
            }
        }
        if !first {
            return Admission::Unknown;
        }
        if self.words.get(&source.store).is_some_and(|word| word.boot != source.boot) {
            self.words.remove(&source.store);
        }
        self.asked.remove(&source.store);
        let session = Session {
            boot: source.boot,
            number,
            heard: self.now,
            held: BTreeMap::new(),
            is_told: false,
            doubt: None,
        };
        self.sessions.insert(source.store, session);
        Admission::Live
    }

    /// Whether to ask the store to report anew; once per session unless `again`.
    pub fn ask(&mut self, source: Source, number: u64, again: bool) -> bool {
        let before = self.asked.insert(source.store, (source.boot, number));
        again || before != Some((source.boot, number))
    }

    /// Replaces what the store's session said of a log; 0: it is closed, and the session says no more of it.
    pub fn say(&mut self, store: NodeId, log: LogName, held: u64) {
        let Some(session) = self.sessions.get_mut(&store) else { return };
        if held == 0 {
            session.held.remove(&log);
        } else if session.held.len() < OPEN_LOGS_PER_GROUP_MAX || session.held.contains_key(&log) {
            session.held.insert(log, held);
        }
    }

    /// How far a store holds a log, exclusive; `None`: it has not said.
    pub fn held(&self, store: NodeId, log: &LogName) -> Option<u64> {
        self.sessions.get(&store)?.held.get(log).copied()
    }

    /// (log, held) of a store's session, in order of log name.
    pub fn logs(&self, store: NodeId) -> impl Iterator<Item = (LogName, u64)> + '_ {
        self.sessions
            .get(&store)
            .into_iter()
            .flat_map(|session| session.held.iter().map(|(&log, &held)| (log, held)))
    }

    /// (store, session) of all live sessions.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Session)> + '_ {
        self.sessions.iter().map(|(&store, session)| (store, session))
    }

    /// Whether the store's session is this one and says the same as is known here.
    pub fn agrees(&mut self, source: Source, number: u64, said: u64) -> Admission {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(&source.store) else { return Admission::Unknown };
        if is_superseded(source.boot, session.boot)
            || (source.boot == session.boot && number < session.number)
        {
            return Admission::Old;
        }
        let same = (session.boot, session.number) == (source.boot, number);
        if !same || digest(session.held.iter().map(|(&log, &held)| (log, held))) != said {
            self.sessions.remove(&source.store);
            return Admission::Unknown;
        }
        (session.heard, session.is_told) = (now, true);
        Admission::Live
    }

    /// Whether a store has told in its live session of everything that it holds beyond what is ordered.
    pub fn is_told(&self, store: NodeId) -> bool {
        self.sessions.get(&store).is_some_and(|session| session.is_told)
    }

    /// Notes a log whose next record no report has told of; true if it was the same at the digest before.
    pub fn doubt(&mut self, store: NodeId, doubt: Option<(LogName, u64)>) -> bool {
        let Some(session) = self.sessions.get_mut(&store) else { return false };
        let before = std::mem::replace(&mut session.doubt, doubt);
        doubt.is_some() && before == doubt
    }

    pub fn drop_session(&mut self, store: NodeId) {
        self.sessions.remove(&store);
    }

    /// Takes a held vector; false if it is of an older boot.
    pub fn hear(&mut self, source: Source, mut held: HeldVector) -> bool {
        let superseded = |known: Boot| is_superseded(source.boot, known);
        if self.words.get(&source.store).is_some_and(|word| superseded(word.boot))
            || self.sessions.get(&source.store).is_some_and(|session| superseded(session.boot))
        {
            return false;
        }
        let before = self.words.remove(&source.store).filter(|word| word.boot == source.boot);
        let mut topics = before.map(|word| word.topics).unwrap_or_default();
        for (topic, held) in std::mem::take(&mut held.topics) {
            if topics.len() < TOPICS_PER_GROUP_MAX || topics.contains_key(&topic) {
                topics.insert(topic, held);
            }
        }
        let word = Word { boot: source.boot, heard: self.now, held, topics };
        self.words.insert(source.store, word);
        true
    }

    /// What a store has of a topic; `None`: it has not said.
    pub fn topic(&self, store: NodeId, topic: TopicId) -> Option<HeldTopic> {
        self.words.get(&store)?.topics.get(&topic).copied()
    }

    /// What was said of these topics is of no use any more.
    pub fn forget_topics(&mut self, is_needed: impl Fn(TopicId) -> bool) {
        self.words.values_mut().for_each(|word| word.topics.retain(|topic, _| is_needed(*topic)));
    }

    /// The index up to which a store has the facts on disk; `None`: it has not said.
    pub fn facts_index(&self, store: NodeId) -> Option<u64> {
        self.words.get(&store).map(|word| word.held.facts_index)
    }

    /// How much exactly a store has of a log that has come to its end, exclusive, said with the facts up to `index`
    /// on disk; `None`: it has not said, or by what it says the log is closed and it lacks some of it.
    pub fn exact(&self, store: NodeId, log: &LogName, index: u64) -> Option<u64> {
        let held = self.words.get(&store).map(|word| &word.held).filter(|held| held.facts_index >= index)?;
        held.ended.get(log).filter(|_| !held.lacking.contains(log)).copied()
    }

    /// How many times a store lacks some of a closed log.
    pub fn lacking(&self) -> usize {
        self.words.values().map(|word| word.held.lacking.len()).sum()
    }

    /// A store's session with the voter that relays it is over.
    pub fn gone(&mut self, source: Source, number: u64) {
        let is_it = |session: &Session| session.boot == source.boot && session.number == number;
        if self.sessions.get(&source.store).is_some_and(is_it) {
            self.sessions.remove(&source.store);
            self.words.remove(&source.store);
        }
    }

    /// A tick of the housekeeping: who was silent for too long has said nothing.
    pub fn tick(&mut self) {
        self.now += 1;
        let now = self.now;
        self.sessions.retain(|_, session| session.heard + SILENT_TICKS_MAX >= now);
        self.words.retain(|_, word| word.heard + SILENT_TICKS_MAX >= now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(counter: u32, random: u64) -> Source {
        Source { store: NodeId(1), boot: Boot { counter, random } }
    }

    #[test]
    fn a_second_directory_with_the_same_boot_counter_says_nothing_while_the_first_is_heard() {
        let (first, second) = (source(3, 7), source(3, 8));
        let nothing = digest([]);
        let mut sessions = Sessions::default();
        assert_eq!(sessions.admit(first, 4, true), Admission::Live);
        let held = |facts_index| HeldVector { facts_index, ..HeldVector::default() };
        assert!(sessions.hear(first, held(9)));
        for number in [1, 9] {
            assert_eq!(sessions.admit(second, number, true), Admission::Old);
            assert_eq!(sessions.agrees(second, number, nothing), Admission::Old);
        }
        assert!(!sessions.hear(second, held(99)));
        assert_eq!(sessions.agrees(first, 4, nothing), Admission::Live, "the first is not disturbed");
        assert_eq!(sessions.facts_index(NodeId(1)), Some(9));
        for _ in 0..=SILENT_TICKS_MAX {
            sessions.tick();
        }
        assert_eq!(sessions.admit(second, 1, true), Admission::Live, "nobody else is there");
        assert_eq!(sessions.admit(source(4, 1), 1, true), Admission::Live, "a later boot");
        assert_eq!(sessions.admit(second, 2, true), Admission::Old);
    }
}
