#include "http.h"

#include <stdlib.h>
#include <string.h>

#include "service.h"

// The most that one write takes.
#define CHUNK 4096

static void *or_trap(void *memory) {
    if (!memory) __builtin_trap();
    return memory;
}

static char *text_of(const uint8_t *bytes, size_t length) {
    char *text = or_trap(malloc(length + 1));
    memcpy(text, bytes, length);
    text[length] = 0;
    return text;
}

static char *content_type_of(wasi_http_types_borrow_incoming_request_t request) {
    wasi_http_types_own_headers_t headers = wasi_http_types_method_incoming_request_headers(request);
    service_string_t name;
    service_string_set(&name, "content-type");
    wasi_http_types_list_field_value_t values;
    wasi_http_types_method_fields_get(wasi_http_types_borrow_fields(headers), &name, &values);
    char *text = values.len ? text_of(values.ptr[0].ptr, values.ptr[0].len) : "text/plain";
    wasi_http_types_fields_drop_own(headers);
    return text;
}

static void read_body(wasi_http_types_borrow_incoming_request_t from, struct request *into) {
    wasi_http_types_own_incoming_body_t body;
    wasi_http_types_own_input_stream_t stream;
    if (!wasi_http_types_method_incoming_request_consume(from, &body)) __builtin_trap();
    if (!wasi_http_types_method_incoming_body_stream(wasi_http_types_borrow_incoming_body(body), &stream)) __builtin_trap();
    service_list_u8_t chunk;
    wasi_io_streams_stream_error_t error;
    into->body = or_trap(calloc(1, 1));
    while (wasi_io_streams_method_input_stream_blocking_read(wasi_io_streams_borrow_input_stream(stream), 65536, &chunk, &error)) {
        into->body = or_trap(realloc(into->body, into->body_length + chunk.len + 1));
        memcpy(into->body + into->body_length, chunk.ptr, chunk.len);
        into->body_length += chunk.len;
        into->body[into->body_length] = 0;
        service_list_u8_free(&chunk);
    }
    wasi_io_streams_input_stream_drop_own(stream);
    wasi_http_types_incoming_body_drop_own(body);
}

static void respond(wasi_http_types_own_response_outparam_t out, struct answer answer) {
    wasi_http_types_own_fields_t headers = wasi_http_types_constructor_fields();
    service_string_t name;
    service_string_set(&name, "content-type");
    wasi_http_types_field_value_t value = {(uint8_t *)answer.content_type, strlen(answer.content_type)};
    wasi_http_types_header_error_t header_error;
    wasi_http_types_method_fields_append(wasi_http_types_borrow_fields(headers), &name, &value, &header_error);

    wasi_http_types_own_outgoing_response_t response = wasi_http_types_constructor_outgoing_response(headers);
    wasi_http_types_borrow_outgoing_response_t borrowed = wasi_http_types_borrow_outgoing_response(response);
    wasi_http_types_own_outgoing_body_t body;
    wasi_http_types_own_output_stream_t stream;
    wasi_http_types_method_outgoing_response_set_status_code(borrowed, answer.status);
    wasi_http_types_method_outgoing_response_body(borrowed, &body);
    wasi_http_types_method_outgoing_body_write(wasi_http_types_borrow_outgoing_body(body), &stream);
    wasi_http_types_result_own_outgoing_response_error_code_t result = {.is_err = false, .val.ok = response};
    wasi_http_types_static_response_outparam_set(out, &result);

    wasi_io_streams_stream_error_t error;
    for (size_t at = 0; at < answer.body_length; at += CHUNK) {
        size_t rest = answer.body_length - at;
        service_list_u8_t chunk = {(uint8_t *)answer.body + at, rest < CHUNK ? rest : CHUNK};
        if (!wasi_io_streams_method_output_stream_blocking_write_and_flush(
                wasi_io_streams_borrow_output_stream(stream), &chunk, &error))
            __builtin_trap();
    }
    wasi_io_streams_output_stream_drop_own(stream);
    wasi_http_types_error_code_t finish_error;
    wasi_http_types_static_outgoing_body_finish(body, NULL, &finish_error);
}

void exports_wasi_http_incoming_handler_handle(
    exports_wasi_http_incoming_handler_own_incoming_request_t incoming,
    exports_wasi_http_incoming_handler_own_response_outparam_t out) {
    wasi_http_types_borrow_incoming_request_t borrowed = wasi_http_types_borrow_incoming_request(incoming);
    struct request request = {OTHER, "/", content_type_of(borrowed)};
    wasi_http_types_method_t method;
    wasi_http_types_method_incoming_request_method(borrowed, &method);
    request.method = method.tag == WASI_HTTP_TYPES_METHOD_GET    ? GET
                     : method.tag == WASI_HTTP_TYPES_METHOD_POST ? POST
                                                                 : OTHER;
    service_string_t path;
    if (wasi_http_types_method_incoming_request_path_with_query(borrowed, &path))
        request.path = text_of(path.ptr, path.len);
    read_body(borrowed, &request);
    respond(out, answer(&request));
    wasi_http_types_incoming_request_drop_own(incoming);
}

const char *parameter(const struct request *request, const char *name) {
    const char *at = strchr(request->path, '?');
    for (size_t length = strlen(name); at; at = strchr(at, '&'))
        if (!strncmp(++at, name, length) && at[length] == '=') return at + length + 1;
    return NULL;
}
