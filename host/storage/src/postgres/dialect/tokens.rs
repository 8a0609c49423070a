//! The words of a text: which there may be at all, and how deep they can make a tree.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::StorageError;

use super::grammar::Platform;
use super::{invalid, shown};

/// How many tokens one statement may have, so that its tree has a bounded size.
const TOKENS: usize = 100_000;
/// How many parentheses may be open at once.
const PARENTHESES: usize = 16;
/// How many operators may stand in one another: all those between two commas, in every parenthesis that is open.
const OPERATORS: usize = 300;
/// How many UNION, EXCEPT and INTERSECT may stand in one another. No comma ends them.
const SET_OPERATORS: usize = 50;

/// The statements of a text without comments and semicolons. With an error, the last one is where it occurred.
pub(super) fn statements(sql: &str) -> (Vec<Vec<TokenWithSpan>>, Option<StorageError>) {
    let mut read = Vec::new();
    let unreadable = if sql.contains('\0') {
        Some(invalid("a NUL in the text"))
    } else {
        let outcome = Tokenizer::new(&Platform, sql).tokenize_with_location_into_buf(&mut read);
        outcome.err().map(|error| invalid(shown(&error.to_string())))
    };
    let mut statements = vec![Vec::new()];
    let mut refused = None;
    for token in read {
        match token.token {
            Token::Whitespace(_) => continue,
            Token::SemiColon => statements.push(Vec::new()),
            _ => {
                refused = refusal(&token);
                if let Some(statement) = statements.last_mut() {
                    statement.push(token);
                }
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.or(unreadable);
    let last = statements.pop().filter(|last| !last.is_empty() || refused.is_some());
    statements.retain(|statement| !statement.is_empty());
    statements.extend(last);
    (statements, refused)
}

/// Why a token may not be in any statement, if so.
fn refusal(token: &TokenWithSpan) -> Option<StorageError> {
    match &token.token {
        Token::HexStringLiteral(digits) if !is_a_blob(token, digits) => {
            Some(invalid("hexadecimal numbers do not work on PostgreSQL: write decimal ones"))
        }
        Token::Word(word) if word.quote_style.is_none_or(|quote| matches!(quote, '"' | '`' | '[')) => None,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::HexStringLiteral(_) => None,
        Token::Placeholder(name) => match name.strip_prefix('$') {
            Some(number) if is_a_number(number) => None,
            _ => Some(invalid(format!("the parameter {}: write $1, $2 and so on", shown(name)))),
        },
        Token::Comma | Token::LParen | Token::RParen | Token::Period => None,
        Token::Eq | Token::DoubleEq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => None,
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => None,
        Token::Ampersand | Token::Pipe | Token::Tilde | Token::ShiftLeft | Token::ShiftRight => None,
        other => Some(invalid(format!("{} is not understood", shown(&other.to_string())))),
    }
}

/// The tokenizer makes the same of X'10', a blob, and 0x10, a number: only their lengths differ.
fn is_a_blob(token: &TokenWithSpan, digits: &str) -> bool {
    let (start, end) = (token.span.start, token.span.end);
    let length = u64::try_from(digits.chars().count() + "X''".len()).ok();
    start.line == end.line && end.column.checked_sub(start.column) == length
}

fn is_a_number(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Refuses a statement whose tree could be too deep or too large.
///
/// The parser makes a tree deeper at operators and at parentheses. Commas stand between trees side by side, so they end
/// what the operators before them made; except set operators, whose sides have commas of their own.
pub(super) fn bounded(tokens: &[TokenWithSpan]) -> Result<(), StorageError> {
    if tokens.len() > TOKENS {
        return Err(StorageError::TooLarge(format!("a statement of more than {TOKENS} words")));
    }
    let (mut open, mut here, mut around, mut sets) = (Vec::new(), 0, 0, 0);
    for token in tokens {
        match &token.token {
            Token::LParen => {
                around += here;
                open.push(std::mem::take(&mut here));
            }
            Token::RParen => {
                here = open.pop().unwrap_or_default();
                around -= here;
            }
            Token::Comma => here = 0,
            Token::Word(word) if word.quote_style.is_none() => {
                here += usize::from(deepens(word.keyword));
                sets += usize::from(is_set_operator(word.keyword));
            }
            Token::Word(_) | Token::Number(..) | Token::SingleQuotedString(_) | Token::HexStringLiteral(_) => {}
            Token::Placeholder(_) | Token::Period => {}
            _ => here += 1,
        }
        if open.len() > PARENTHESES {
            return Err(StorageError::TooLarge(format!("more than {PARENTHESES} parentheses in one another")));
        }
        if around + here > OPERATORS {
            return Err(StorageError::TooLarge(format!("more than {OPERATORS} operators in one another")));
        }
        if sets > SET_OPERATORS {
            return Err(StorageError::TooLarge(format!("more than {SET_OPERATORS} times UNION and the like")));
        }
    }
    Ok(())
}

fn deepens(keyword: Keyword) -> bool {
    let logic = matches!(keyword, Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::IN);
    let tests = matches!(keyword, Keyword::BETWEEN | Keyword::LIKE | Keyword::GLOB | Keyword::MATCH | Keyword::REGEXP);
    let others = matches!(keyword, Keyword::COLLATE | Keyword::CASE | Keyword::JOIN | Keyword::NOTNULL | Keyword::AT);
    let foreign = matches!(keyword, Keyword::XOR | Keyword::DIV | Keyword::ILIKE | Keyword::RLIKE | Keyword::SIMILAR);
    let rare = matches!(keyword, Keyword::OVERLAPS | Keyword::MEMBER | Keyword::OPERATOR | Keyword::INTERVAL);
    logic || tests || others || foreign || rare
}

fn is_set_operator(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS)
}

/// The word that a token is, in upper case, unless it is quoted.
pub(super) fn word(token: Option<&TokenWithSpan>) -> Option<String> {
    match token.map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// The word that a statement begins with, in upper case.
pub(super) fn first_word(tokens: &[TokenWithSpan]) -> Option<String> {
    word(tokens.first())
}

/// The beginning of a statement on one line, at most 80 characters.
pub(super) fn beginning(tokens: &[TokenWithSpan]) -> String {
    let mut text = String::new();
    for token in tokens.iter().take(80) {
        let joined = matches!(token.token, Token::Comma | Token::RParen | Token::Period) || text.ends_with(['(', '.']);
        if !joined && !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&shown(&token.token.to_string()));
    }
    text.chars().take(80).collect()
}
