//! The message store: origin logs, Follow, the index of the committed order, and reads.
