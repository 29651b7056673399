mod error;
mod metrics;
mod nearest;
mod options;
mod positions;
mod topics;
