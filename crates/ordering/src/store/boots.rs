//! Which boots of other stores were seen, in logs' names and at the beginning of streams: what exposes a data directory
//! that was rolled back or copied.
//!
//! A boot's counter is on disk before it is used, so a directory that begins a counter that was seen already, under
//! another random part, does not descend from the one that used it: there are two, and each lacks what the other has
//! written and told. Which of them is the right one nobody here can know. So the one that was seen first stays, and the
//! other is refused, also when the first is gone: it may have told what the other has not got. (Started again, the other
//! comes with a higher counter; then [`super::Log::told_before`] finds out whether it really lacks anything.)

use std::collections::BTreeMap;

use trunkline_types::{Boot, NodeId};

/// The newest boot of each store.
#[derive(Clone, Debug, Default)]
pub struct Boots {
    newest: BTreeMap<NodeId, Boot>,
}

impl Boots {
    /// There is this boot, or was.
    pub fn saw(&mut self, node: NodeId, boot: Boot) {
        let newest = self.newest.entry(node).or_insert(boot);
        if boot.counter > newest.counter {
            *newest = boot;
        }
    }

    /// The newest that was seen.
    pub fn newest(&self, node: NodeId) -> Option<Boot> {
        self.newest.get(&node).copied()
    }

    /// A store speaks under this boot.
    ///
    /// # Errors
    /// A newer boot of it that was seen, or another one with the same counter: it does not go on under this identity.
    pub fn admit(&mut self, node: NodeId, boot: Boot) -> Result<(), Boot> {
        self.saw(node, boot);
        match self.newest.get(&node) {
            Some(&newest) if newest != boot => Err(newest),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(counter: u32, random: u64) -> Boot {
        Boot { counter, random }
    }

    #[test]
    fn an_older_boot_and_a_second_one_of_the_same_counter_are_refused() {
        let mut boots = Boots::default();
        let node = NodeId(1);
        for (spoken, expected) in [
            (boot(2, 7), Ok(())),
            (boot(2, 7), Ok(())),
            (boot(1, 5), Err(boot(2, 7))),
            (boot(2, 8), Err(boot(2, 7))),
            (boot(3, 8), Ok(())),
            (boot(3, 9), Err(boot(3, 8))),
        ] {
            assert_eq!(boots.admit(node, spoken), expected, "{spoken}");
        }
        boots.saw(node, boot(5, 1));
        boots.saw(node, boot(4, 1));
        assert_eq!(boots.admit(node, boot(4, 1)), Err(boot(5, 1)), "a log of boot 5 was seen");
        assert_eq!(boots.admit(NodeId(2), boot(1, 1)), Ok(()));
    }
}
