//! All text: American spelling, so that one search finds everything.

use crate::Complaint;
use crate::tree::File;

/// British stems, each put together so that this file does not find itself, and what we write.
const STEMS: [(&str, &str); 19] = [
    (concat!("behav", "iour"), "behavior"),
    (concat!("col", "our"), "color"),
    (concat!("fav", "our"), "favor"),
    (concat!("hon", "our"), "honor"),
    (concat!("lab", "our"), "labor"),
    (concat!("neighb", "our"), "neighbor"),
    (concat!("init", "ialis"), "initializ"),
    (concat!("ser", "ialis"), "serializ"),
    (concat!("synchr", "onis"), "synchroniz"),
    (concat!("norm", "alis"), "normaliz"),
    (concat!("opt", "imis"), "optimiz"),
    (concat!("recog", "nis"), "recogniz"),
    (concat!("organ", "is"), "organiz"),
    (concat!("author", "is"), "authoriz"),
    (concat!("cent", "re"), "center"),
    (concat!("lic", "ence"), "license"),
    (concat!("def", "ence"), "defense"),
    (concat!("whi", "lst"), "while"),
    (concat!("catal", "ogue"), "catalog"),
];

pub fn check(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for (british, american) in STEMS {
            if words(line).any(|word| word.contains(british) && !is_something_else(&word, british)) {
                complaints.push(format!("{}:{}: write {american}…, not {british}…", file.path, at + 1));
            }
        }
    }
    complaints
}

/// In lower case; `RecentRecords` are two.
fn words(line: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for letter in line.chars() {
        if !letter.is_alphabetic() || (was_lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        was_lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphabetic()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.into_iter()
}

/// "organism" and "optimistic" are not British.
fn is_something_else(word: &str, stem: &str) -> bool {
    let rest = word.split_once(stem).map_or("", |(_, rest)| rest);
    stem.ends_with("is") && (rest.starts_with('m') || rest.starts_with('t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn british_spelling_is_found() {
        for (british, _) in STEMS {
            let file = File { path: "a.md".into(), text: format!("It is {british}ed.") };
            assert_eq!(check(&file).len(), 1, "{british}");
        }
    }

    #[test]
    fn american_spelling_and_other_words_are_not() {
        let text = "initialized, serialize, color, datacenter, RecentRecords, optimistic, organism, license";
        let file = File { path: "a.md".into(), text: text.into() };
        assert_eq!(check(&file), Vec::<String>::new());
    }
}
