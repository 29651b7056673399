//! Which options an update changes.

use trunkline_wire::Status;
use trunkline_wire::status::invalid;
use trunkline_wire::v1::TopicOptions;

/// The options that are there, with those of the mask as they are asked for; all of them where it is empty.
///
/// # Errors
/// `INVALID_ARGUMENT` for a name that is no option.
pub(super) fn merge(
    there: TopicOptions,
    asked: &TopicOptions,
    mask: &[String],
) -> Result<TopicOptions, Status> {
    if mask.is_empty() {
        return Ok(asked.clone());
    }
    let mut merged = there;
    for name in mask {
        match name.as_str() {
            "default_ack_level" => merged.default_ack_level = asked.default_ack_level,
            "message_bytes_max" => merged.message_bytes_max = asked.message_bytes_max,
            "labels" => merged.labels.clone_from(&asked.labels),
            "retention_age" => merged.retention_age = asked.retention_age,
            "retention_bytes" => merged.retention_bytes = asked.retention_bytes,
            "retain_until_acknowledged" => {
                merged.retain_until_acknowledged = asked.retain_until_acknowledged;
            }
            other => return Err(invalid("update_mask", format!("names {other:?}, which is no option"))),
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let there = TopicOptions { message_bytes_max: 5, retention_bytes: 6, ..TopicOptions::default() };
        let asked = TopicOptions { message_bytes_max: 7, default_ack_level: 2, ..TopicOptions::default() };
        let mask = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let merged = |names| merge(there.clone(), &asked, &mask(names));
        assert_eq!(merged(&[]), Ok(asked.clone()));
        let one = TopicOptions { message_bytes_max: 7, ..there.clone() };
        assert_eq!(merged(&["message_bytes_max"]), Ok(one));
        let two = TopicOptions { retention_bytes: 0, default_ack_level: 2, ..there.clone() };
        assert_eq!(merged(&["retention_bytes", "default_ack_level"]), Ok(two));
        let refused = merged(&["retention"]).expect_err("no such option");
        assert_eq!(refused.message(), "update_mask names \"retention\", which is no option");
    }
}
