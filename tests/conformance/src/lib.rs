//! Each port's contract, held against every implementation. See `tests/`.
