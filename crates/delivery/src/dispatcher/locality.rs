//! Where the pops come from, and so where dispatch belongs.

use std::collections::VecDeque;

use trunkline_types::limits::DISPATCH_MOVES_AFTER;

/// The last pops of one subscription: whether each came from the dispatcher's own datacenter.
#[derive(Debug, Default)]
pub struct Locality {
    recent: VecDeque<bool>,
}

impl Locality {
    /// A Pop came. True: dispatch moves to its datacenter, for this one has had none of the last pops.
    pub fn popped(&mut self, from_here: bool) -> bool {
        if self.recent.len() == DISPATCH_MOVES_AFTER {
            self.recent.pop_front();
        }
        self.recent.push_back(from_here);
        self.recent.len() == DISPATCH_MOVES_AFTER && !self.recent.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatch_moves_at_the_eighth_pop_in_a_row_from_afar() {
        let moves = |pops: &str| {
            let mut locality = Locality::default();
            pops.chars().map(|from| locality.popped(from == 'h')).collect::<Vec<_>>()
        };
        assert!(!moves("fffffff").contains(&true));
        assert_eq!(moves("ffffffff").iter().position(|&moved| moved), Some(7));
        assert_eq!(moves("hffffffff").iter().position(|&moved| moved), Some(8));
        assert!(
            !moves("ffffhffffffhfffffffh").contains(&true),
            "its own datacenter has had one of the last eight"
        );
    }
}
