//! Checks which tokens a statement contains, and how deep a tree they can make.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::StorageError;

use super::grammar::Platform;
use super::{invalid, shown};

/// The maximum number of tokens of a statement, which limits the size of its tree.
const TOKENS: usize = 100_000;
/// The maximum number of parentheses that are open at once.
const PARENTHESES: usize = 16;
/// The maximum number of nested operators.
///
/// An upper bound: counts all operators since the last comma, added up over all open parentheses.
const OPERATORS: usize = 300;
/// The maximum number of nested UNION, EXCEPT and INTERSECT.
///
/// Commas do not end them.
const SET_OPERATORS: usize = 50;

/// Splits a text into statements, without comments and semicolons.
///
/// If there is an error, it occurred in the last statement.
pub(super) fn statements(sql: &str) -> (Vec<Vec<TokenWithSpan>>, Option<StorageError>) {
    let mut read = Vec::new();
    let unreadable = if sql.contains('\0') {
        Some(invalid("the statement contains a NUL character"))
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

/// Why a token is not allowed in any statement; `None` if it is allowed.
fn refusal(token: &TokenWithSpan) -> Option<StorageError> {
    match &token.token {
        Token::HexStringLiteral(digits) if !is_a_blob(token, digits) => {
            Some(invalid("hexadecimal numbers do not work on PostgreSQL: write decimal ones"))
        }
        Token::Word(word) if word.quote_style.is_none_or(|quote| matches!(quote, '"' | '`' | '[')) => None,
        Token::Number(..) | Token::SingleQuotedString(_) | Token::HexStringLiteral(_) => None,
        Token::Placeholder(name) => match name.strip_prefix('$') {
            Some(number) if is_a_number(number) => None,
            _ => Some(invalid(format!("the parameter {}: write parameters as $1, $2, …", shown(name)))),
        },
        Token::Comma | Token::LParen | Token::RParen | Token::Period => None,
        Token::Eq | Token::DoubleEq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => None,
        Token::Plus | Token::Minus | Token::Mul | Token::Div | Token::Mod | Token::StringConcat => None,
        Token::Ampersand | Token::Pipe | Token::Tilde | Token::ShiftLeft | Token::ShiftRight => None,
        other => Some(invalid(format!("unexpected {}", shown(&other.to_string())))),
    }
}

/// Whether a token is a blob (X'10') and not a number (0x10).
///
/// The tokenizer makes the same token of both. Only their lengths differ.
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
/// Operators and parentheses make the tree deeper. A comma separates trees side by side, so it ends the count of the operators
/// before it. It does not end the count of set operators, because their parts contain commas themselves.
pub(super) fn bounded(tokens: &[TokenWithSpan]) -> Result<(), StorageError> {
    if tokens.len() > TOKENS {
        return Err(StorageError::TooLarge(format!("a statement of more than {TOKENS} tokens")));
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
            return Err(StorageError::TooLarge(format!("more than {PARENTHESES} nested parentheses")));
        }
        if around + here > OPERATORS {
            return Err(StorageError::TooLarge(format!("more than {OPERATORS} nested operators")));
        }
        if sets > SET_OPERATORS {
            return Err(StorageError::TooLarge(format!(
                "more than {SET_OPERATORS} nested UNION, EXCEPT and INTERSECT"
            )));
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

/// The word of a token in upper case, unless it is quoted.
pub(super) fn word(token: Option<&TokenWithSpan>) -> Option<String> {
    match token.map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
        _ => None,
    }
}

/// The first word of a statement in upper case.
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
