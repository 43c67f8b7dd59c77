//! Lengths of lines and files, and how a file opens.

use crate::files::SourceFile;

/// Columns of a line of comment; rustfmt wraps no comments.
const COMMENT_COLUMNS: usize = 100;
/// Columns of a line of code without a string. rustfmt holds most code to 100.
const CODE_COLUMNS: usize = 125;
/// Lines of a file with its tests.
const FILE_LINES: usize = 700;
/// Lines of a file before its tests.
const CODE_LINES: usize = 600;

pub(crate) fn too_long(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let limit = |line: &str| {
        if line.trim_start().starts_with("//") { COMMENT_COLUMNS } else { CODE_COLUMNS }
    };
    file.lines()
        .filter(|(_, line)| line.chars().count() > limit(line))
        .filter(|(_, line)| line.trim_start().starts_with("//") || !line.contains('"'))
        .map(|(number, line)| {
            let columns = line.chars().count();
            format!("{}:{number}: {columns} columns, more than {}", file.path, limit(line))
        })
        .collect()
}

pub(crate) fn too_many(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let all = file.lines().count();
    let code =
        file.text.split("\n#[cfg(test)]\nmod tests {").next().map_or(0, |t| t.lines().count());
    let mut found = Vec::new();
    if all > FILE_LINES {
        found.push(format!("{}: {all} lines, more than {FILE_LINES}: split it", file.path));
    }
    if code > CODE_LINES {
        found.push(format!("{}: {code} lines before its tests, more than {CODE_LINES}", file.path));
    }
    found
}

pub(crate) fn no_opening(file: &SourceFile) -> Vec<String> {
    if !file.is_rust() || file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![format!("{}: begin it with `//!` and one sentence: what lives there", file.path)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> SourceFile {
        SourceFile::new("host/src/a.rs", text)
    }

    #[test]
    fn a_long_comment_is_found() {
        let comment = |columns: usize| format!("// {}\n", "a".repeat(columns - 3));
        assert_eq!(too_long(&file(&comment(100))).len(), 0);
        assert_eq!(too_long(&file(&comment(101))).len(), 1);
    }

    #[test]
    fn a_long_line_of_code_is_found() {
        assert_eq!(too_long(&file(&"a".repeat(125))).len(), 0);
        assert_eq!(too_long(&file(&"a".repeat(126))).len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(too_many(&file(&"x\n".repeat(600))).len(), 0);
        assert_eq!(too_many(&file(&"x\n".repeat(601))).len(), 1);
        assert_eq!(too_many(&file(&"x\n".repeat(701))).len(), 2);
        let with_tests =
            format!("{}\n#[cfg(test)]\nmod tests {{\n{}", "x\n".repeat(500), "x\n".repeat(150));
        assert_eq!(too_many(&file(&with_tests)).len(), 0);
    }

    #[test]
    fn a_file_that_opens_without_a_sentence_is_found() {
        assert_eq!(no_opening(&file("//! Names.\n")).len(), 0);
        assert_eq!(no_opening(&file("use std::fs;\n")).len(), 1);
    }
}
