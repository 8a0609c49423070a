//! Tells sqlparser which grammar the platform's SQL has.

use std::any::TypeId;

use sqlparser::ast::{Expr, Statement};
use sqlparser::dialect::{Dialect, Precedence, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::StorageError;

use super::{invalid, shown};

/// The maximum depth of the parser's recursion, by its own count.
const RECURSION: usize = 48;

/// SQLite's grammar with the correct operator precedence, which sqlparser lacks.
#[derive(Debug)]
pub(super) struct Platform;

const SQLITE: SQLiteDialect = SQLiteDialect {};

/// The precedence of unary operators, which bind tighter than all binary ones.
const UNARY: u8 = 50;

impl Dialect for Platform {
    fn dialect(&self) -> TypeId {
        SQLITE.dialect()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        SQLITE.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        SQLITE.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        SQLITE.is_identifier_part(ch)
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn supports_asc_desc_in_column_definition(&self) -> bool {
        true
    }

    fn supports_dollar_placeholder(&self) -> bool {
        true
    }

    fn supports_limit_comma(&self) -> bool {
        true
    }

    fn supports_notnull_operator(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_in_empty_list(&self) -> bool {
        true
    }

    fn supports_insert_table_alias(&self) -> bool {
        true
    }

    fn parse_infix(&self, parser: &mut Parser, expr: &Expr, precedence: u8) -> Option<Result<Expr, ParserError>> {
        SQLITE.parse_infix(parser, expr, precedence)
    }

    fn parse_statement(&self, parser: &mut Parser) -> Option<Result<Statement, ParserError>> {
        SQLITE.parse_statement(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            Precedence::PlusMinus | Precedence::MulDivModOp => UNARY,
            Precedence::Eq | Precedence::Is | Precedence::Like | Precedence::Between => 20,
            other => SQLITE.prec_value(other),
        }
    }

    fn get_next_precedence(&self, parser: &Parser) -> Option<Result<u8, ParserError>> {
        match &parser.peek_token_ref().token {
            Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => Some(Ok(22)),
            Token::Ampersand | Token::Pipe | Token::ShiftLeft | Token::ShiftRight => Some(Ok(25)),
            Token::Plus | Token::Minus => Some(Ok(30)),
            Token::Mul | Token::Div | Token::Mod => Some(Ok(40)),
            Token::StringConcat => Some(Ok(45)),
            _ => None,
        }
    }
}

/// Parses a whole statement from tokens that were already checked.
pub(super) fn parse(tokens: Vec<TokenWithSpan>) -> Result<Statement, StorageError> {
    let mut parser = Parser::new(&Platform).with_recursion_limit(RECURSION).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(refused)?;
    match parser.peek_token().token {
        Token::EOF => Ok(statement),
        Token::Word(word) if word.keyword == Keyword::ESCAPE => Err(invalid("ESCAPE needs one character")),
        token => Err(invalid(format!("unexpected {}", shown(&token.to_string())))),
    }
}

fn refused(error: ParserError) -> StorageError {
    match error {
        ParserError::RecursionLimitExceeded => {
            StorageError::TooLarge("a statement that is nested too deeply".to_owned())
        }
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            invalid(text.chars().take(240).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>())
        }
    }
}
