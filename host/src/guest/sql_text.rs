//! The text of an SQL statement without values, for its span.
//!
//! A guest passes values as parameters, and those are never part of a span. A guest may also write values into the text. So each string,
//! blob and number in the text becomes a `?`, and comments are left out.

use std::iter::Peekable;
use std::str::Chars;

/// The most characters of a text in a span.
const MOST_CHARACTERS: usize = 2048;

/// The text, without values, comments and line breaks.
pub(super) fn without_values(sql: &str) -> String {
    let (mut shown, mut rest, mut length) = (String::new(), sql.chars().peekable(), 0);
    while let Some(letter) = rest.next() {
        if length >= MOST_CHARACTERS {
            shown.push('…');
            break;
        }
        length += 1;
        let after_word = shown.chars().last().is_some_and(is_word);
        match letter {
            '\'' => {
                skip_string(&mut rest);
                // The x of a blob.
                let is_blob = shown.ends_with(['x', 'X']) && !shown[..shown.len() - 1].ends_with(is_word);
                if is_blob {
                    shown.pop();
                }
                shown.push('?');
            }
            '-' if rest.peek() == Some(&'-') => while rest.next().is_some_and(|letter| letter != '\n') {},
            '/' if rest.peek() == Some(&'*') => skip_comment(&mut rest),
            '.' if !after_word && rest.peek().is_some_and(char::is_ascii_digit) => number(&mut shown, &mut rest),
            '0'..='9' if !after_word => number(&mut shown, &mut rest),
            '"' | '`' => {
                shown.push(letter);
                for other in rest.by_ref() {
                    shown.push(other);
                    length += 1;
                    if other == letter || length >= MOST_CHARACTERS {
                        break;
                    }
                }
            }
            letter if letter.is_whitespace() => {
                if !shown.ends_with(' ') {
                    shown.push(' ');
                }
            }
            letter => shown.push(letter),
        }
    }
    shown.trim().to_owned()
}

/// The first word of a statement in capitals, such as `SELECT`. `SQL` if it has none.
pub(super) fn operation(sql: &str) -> String {
    let word: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).take(16).collect();
    if word.is_empty() { "SQL".to_owned() } else { word.to_ascii_uppercase() }
}

/// Whether a digit after this letter belongs to a name or a parameter such as `$1`.
fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$' | '?' | ':' | '@')
}

fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(letter) = rest.next() {
        // Two quotes stand for one within the string.
        if letter == '\'' && rest.next_if_eq(&'\'').is_none() {
            return;
        }
    }
}

fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    rest.next();
    while let Some(letter) = rest.next() {
        if letter == '*' && rest.next_if_eq(&'/').is_some() {
            return;
        }
    }
}

fn number(shown: &mut String, rest: &mut Peekable<Chars<'_>>) {
    let mut last = ' ';
    while let Some(letter) = rest.next_if(|letter| {
        letter.is_ascii_alphanumeric() || *letter == '.' || (matches!(*letter, '+' | '-') && matches!(last, 'e' | 'E'))
    }) {
        last = letter;
    }
    shown.push('?');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_that_a_guest_writes_into_the_text_is_shown() {
        for (sql, shown) in [
            ("SELECT id FROM t1 WHERE name = $1", "SELECT id FROM t1 WHERE name = $1"),
            ("SELECT * FROM users\n  WHERE mail = 'it''s@secret'", "SELECT * FROM users WHERE mail = ?"),
            ("INSERT INTO t VALUES (12, -3.5e-7, x'cafe', 'a', .5)", "INSERT INTO t VALUES (?, -?, ?, ?, ?)"),
            ("SELECT 1 -- secret\n+ 2 /* secret * */ + 3", "SELECT ? + ? + ?"),
            ("SELECT \"select 1\" FROM a2b WHERE x=0xff", "SELECT \"select 1\" FROM a2b WHERE x=?"),
            ("SELECT \"a`b\" FROM t WHERE c = 'x\"y'", "SELECT \"a`b\" FROM t WHERE c = ?"),
            ("SELECT 'never closed", "SELECT ?"),
            ("UPDATE t SET a = ?1, b = :name2, max='9'", "UPDATE t SET a = ?1, b = :name2, max=?"),
        ] {
            assert_eq!(without_values(sql), shown);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let long = without_values(&"SELECT a, ".repeat(10_000));
        assert!(long.chars().count() <= MOST_CHARACTERS + 1 && long.ends_with('…'), "{} bytes", long.len());
    }

    #[test]
    fn a_span_is_named_by_the_first_word() {
        let names = ["select 1", "  INSERT INTO t", "(SELECT 1)", ""].map(operation);
        assert_eq!(names, ["SELECT", "INSERT", "SQL", "SQL"]);
    }
}
