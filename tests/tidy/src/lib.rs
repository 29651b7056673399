//! House rules that are executed: floors, file lengths, banned words.
