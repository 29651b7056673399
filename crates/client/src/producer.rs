//! Names messages, so that a push of unknown outcome can be made again: a producer id drawn at random, and in each topic
//! the next sequence.

use std::collections::BTreeMap;

use bytes::Bytes;
use trunkline_ports::Process;
use trunkline_wire::v1::Message;

/// Topics that one producer id is used for; then another one is drawn.
const TOPICS_MAX: usize = 1 << 16;
/// Messages that failed leave gaps in the sequences, which a cluster must remember: after so many another id is drawn.
const FAILURES_MAX: u32 = 256;

/// One producer at a time.
#[derive(Debug, Default)]
pub(crate) struct Producer {
    /// Empty until a first message is named.
    id: Bytes,
    /// The next sequence by topic; `None` where the cluster takes no more producers.
    topics: BTreeMap<String, Option<u64>>,
    failures: u32,
}

impl Producer {
    /// Names messages of a topic, in order, but for those that have a name, and as long as the cluster takes it.
    pub(crate) fn name(&mut self, process: &Process, topic: &str, messages: &mut [Message]) {
        if self.id.is_empty() || self.failures >= FAILURES_MAX || self.topics.len() > TOPICS_MAX {
            *self = Self { id: draw(process), ..Self::default() };
        }
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), Some(1));
        }
        let next = self.topics.get_mut(topic).expect("it was put there");
        for message in messages.iter_mut().filter(|message| message.producer_id.is_empty()) {
            let Some(sequence) = next else { return };
            message.producer_id.clone_from(&self.id);
            message.producer_sequence = *sequence;
            *sequence += 1;
        }
    }

    pub(crate) fn is_own(&self, message: &Message) -> bool {
        !message.producer_id.is_empty() && message.producer_id == self.id
    }

    /// A message of this producer was not acknowledged.
    pub(crate) fn failed(&mut self) {
        self.failures += 1;
    }

    /// The cluster takes no more producers in this topic: its messages go without from now on.
    pub(crate) fn too_many(&mut self, topic: &str) {
        self.topics.insert(topic.to_owned(), None);
    }
}

fn draw(process: &Process) -> Bytes {
    [process.random().to_be_bytes(), process.random().to_be_bytes()].concat().into()
}

/// Without the name that this client gave it.
pub(crate) fn unname(message: &mut Message) {
    message.producer_id = Bytes::new();
    message.producer_sequence = 0;
}

#[cfg(test)]
mod tests {
    use trunkline_testkit::SimulatedProcess;

    use super::*;

    fn names(messages: &[Message]) -> Vec<u64> {
        messages.iter().map(|message| message.producer_sequence).collect()
    }

    #[test]
    fn each_topic_has_sequences_of_its_own_and_who_has_a_name_keeps_it() {
        let process = SimulatedProcess::alone(1).process();
        let mut producer = Producer::default();
        let mut messages = vec![Message::default(); 3];
        messages[1].producer_id = vec![7; 16].into();
        messages[1].producer_sequence = 9;
        producer.name(&process, "a", &mut messages);
        assert_eq!(names(&messages), [1, 9, 2]);
        assert!(producer.is_own(&messages[0]) && !producer.is_own(&messages[1]));
        for (topic, first) in [("a", 3), ("b", 1), ("a", 4)] {
            let mut one = [Message::default()];
            producer.name(&process, topic, &mut one);
            assert_eq!(
                (names(&one), &one[0].producer_id),
                (vec![first], &messages[0].producer_id),
                "{topic}"
            );
        }
        producer.too_many("a");
        let mut one = [Message::default()];
        producer.name(&process, "a", &mut one);
        assert!(one[0].producer_id.is_empty());
    }

    #[test]
    fn after_many_gaps_it_is_another_producer() {
        let process = SimulatedProcess::alone(1).process();
        let mut producer = Producer::default();
        let mut messages = [Message::default(), Message::default()];
        producer.name(&process, "a", &mut messages[..1]);
        (0..FAILURES_MAX).for_each(|_| producer.failed());
        producer.name(&process, "a", &mut messages[1..]);
        assert_eq!(names(&messages), [1, 1]);
        assert_ne!(messages[0].producer_id, messages[1].producer_id);
        unname(&mut messages[0]);
        assert_eq!(messages[0], Message::default());
    }
}
