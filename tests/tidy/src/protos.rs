//! Protocol files: what buf's STANDARD rules would say, as far as it matters to readers.

use crate::Complaint;
use crate::tree::File;

pub fn check(file: &File) -> Vec<Complaint> {
    let mut complaints = package(file);
    let mut before = "";
    let mut in_enum = false;
    for (at, line) in file.text.lines().enumerate() {
        let line = line.trim();
        let mut complain = |what: String| complaints.push(format!("{}:{}: {what}", file.path, at + 1));
        if let Some(name) = named(line, "service") {
            if !name.ends_with("Service") {
                complain(format!("service {name} must end in Service"));
            }
            if !before.starts_with("//") {
                complain(format!("service {name} must say who serves it"));
            }
        } else if is_public(file) && line.starts_with("rpc ") {
            method(line).into_iter().for_each(&mut complain);
        } else if named(line, "enum").is_some() {
            in_enum = true;
        } else if in_enum && line.contains(" = 0;") && !line.contains("_UNSPECIFIED = 0;") {
            complain("the zero of an enum must be its _UNSPECIFIED".into());
        } else if let Some(name) = field(line)
            && (name != name.to_lowercase() && !in_enum)
        {
            complain(format!("field {name} must be lower_snake_case"));
        }
        in_enum &= line != "}";
        before = line;
    }
    complaints
}

fn is_public(file: &File) -> bool {
    file.path.contains("trunkline/v1/")
}

/// The package is the folder, as the generated code and reflection expect it.
fn package(file: &File) -> Vec<Complaint> {
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let expected = folder.trim_start_matches("proto/").replace('/', ".");
    let is_there = file.text.lines().any(|line| line.trim() == format!("package {expected};"));
    let complaint = || format!("{}: the package must be {expected}", file.path);
    (!is_there).then(complaint).into_iter().collect()
}

fn named<'a>(line: &'a str, what: &str) -> Option<&'a str> {
    line.strip_prefix(what)?.strip_prefix(' ')?.split([' ', '{']).next()
}

/// One request and one response message per method, named after it.
fn method(line: &str) -> Option<Complaint> {
    let (name, rest) = line.strip_prefix("rpc ")?.split_once('(')?;
    let (request, rest) = rest.split_once(')')?;
    let response = rest.split_once('(')?.1.split(')').next()?;
    let bare = |message: &str| message.trim_start_matches("stream ").trim().to_owned();
    let is_right = bare(request) == format!("{name}Request") && bare(response) == format!("{name}Response");
    (!is_right).then(|| format!("method {name} must take {name}Request and return {name}Response"))
}

fn field(line: &str) -> Option<&str> {
    if ["//", "option", "reserved", "syntax", "import", "package"].iter().any(|word| line.starts_with(word)) {
        return None;
    }
    let (declared, _) = line.split_once(" = ")?;
    declared.rsplit(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "
        package trunkline.v1;
        // Served by push.
        service PushService {
          rpc Push(PushRequest) returns (PushResponse);
          rpc PushStream(stream PushStreamRequest) returns (stream PushStreamResponse);
        }
        message PushRequest {
          repeated bytes payload = 1;
          AckLevel ack_level = 2;
        }
        enum AckLevel {
          ACK_LEVEL_UNSPECIFIED = 0;
          ACK_LEVEL_NONE = 1;
        }
    ";

    fn complaints(text: &str) -> Vec<Complaint> {
        check(&File { path: "proto/trunkline/v1/push.proto".into(), text: text.into() })
    }

    #[test]
    fn a_protocol_in_style_has_no_complaints() {
        assert_eq!(complaints(GOOD), Vec::<String>::new());
    }

    #[test]
    fn what_is_out_of_style_is_found() {
        for (old, new) in [
            ("trunkline.v1;", "trunkline.v2;"),
            ("service PushService", "service Pushing"),
            ("// Served by push.", ""),
            ("(PushRequest)", "(Request)"),
            ("(PushResponse)", "(google.protobuf.Empty)"),
            ("(stream PushStreamRequest)", "(stream PushRequest)"),
            ("ACK_LEVEL_UNSPECIFIED", "ACK_LEVEL_DEFAULT"),
            ("bytes payload", "bytes payLoad"),
        ] {
            let found = complaints(&GOOD.replacen(old, new, 1));
            assert_eq!(found.len(), 1, "{new}: {found:?}");
        }
    }
}
