//go:build wasip1

// Package weir is the contract of handlers, as plain Go functions. `wit/handler.wit` explains each
// of them. What a host function refuses is a Refusal; return it from the handler, or look at it.
package weir

import (
	"encoding/json"
	"unsafe"
)

// Event has the facts of one event. An empty Category or DeliveryID is none.
type Event struct {
	ID          string
	Source      string
	Type        string
	Category    string
	DeliveryID  string
	ReceivedAt  uint64
	ContentType string
}

// RefusalCode is the kind of a refusal.
type RefusalCode uint8

const (
	NotGranted RefusalCode = iota
	NotFound
	Invalid
	TooLarge
	TooMany
	Quota
	Unavailable
	Other
)

// Refusal is the error of a host function.
type Refusal struct {
	Code    RefusalCode
	Message string
}

func (refusal Refusal) Error() string { return refusal.Message }

// failure is what a handler returned on purpose.
type failure struct {
	reject bool
	reason string
}

func (failure failure) Error() string { return failure.reason }

// Retry is an error for what may succeed later. Any other error of a handler counts as one.
func Retry(reason string) error { return failure{reject: false, reason: reason} }

// Reject is an error for what will never succeed: the event becomes a dead letter.
func Reject(reason string) error { return failure{reject: true, reason: reason} }

var (
	describe func()
	handle   func(Event) error
)

// Serve names the functions of the handler. Call it in an init function.
func Serve(describes func(), handles func(Event) error) { describe, handle = describes, handles }

// About sets one line on what the handler does.
func About(text string) { manifestAbout(at(text), size(text)) }

// Subscribe subscribes to the events of a pattern, such as `github:push`.
func Subscribe(pattern string) { manifestSubscribe(at(pattern), size(pattern)) }

// StateVersion sets the version of the form in which the handler stores its state.
func StateVersion(version uint32) { manifestStateVersion(version) }

// NeedsDestination says that the handler sends to a destination.
func NeedsDestination(name string) { manifestNeedsDestination(at(name), size(name)) }

// Text is the body as text.
func Text() (string, error) {
	requestText(area)
	return area.textOrFailure()
}

// Bytes is the body as it was received.
func Bytes() []byte {
	requestBytes(area)
	return []byte(area.text(0))
}

// Header is the first value of a header, and false if there is none.
func Header(name string) (string, bool) {
	requestHeader(at(name), size(name), area)
	return area.option()
}

// Headers are all headers in the order received.
func Headers() [][2]string {
	requestHeaders(area)
	words := area.list(0, 4)
	headers := make([][2]string, len(words)/4)
	for i := range headers {
		headers[i] = [2]string{text(words[4*i], words[4*i+1]), text(words[4*i+2], words[4*i+3])}
	}
	return headers
}

// Method is the method of the request, or empty if no request carried the event.
func Method() string {
	requestMethod(area)
	return area.text(0)
}

// Query is the query of the request's URL, without `?`.
func Query() string {
	requestQuery(area)
	return area.text(0)
}

// PathRest is the rest of the request's path after the source.
func PathRest() string {
	requestPathRest(area)
	return area.text(0)
}

func Debug(message string) { logDebug(at(message), size(message)) }
func Info(message string)  { logInfo(at(message), size(message)) }
func Warn(message string)  { logWarn(at(message), size(message)) }
func Error(message string) { logError(at(message), size(message)) }

// Config is a value of the handler's [config], and false if it is not set.
func Config(key string) (string, bool) {
	configGet(at(key), size(key), area)
	return area.option()
}

// Attempt is the number of this attempt, from 1.
func Attempt() uint32 { return contextAttempt() }

// Now is the start of this attempt, in milliseconds since 1970-01-01 UTC.
func Now() uint64 { return contextNow() }

// Random are random bytes, from a generator seeded for this attempt. At most 1,024.
func Random(length uint32) []byte {
	contextRandom(length, area)
	return []byte(area.text(0))
}

// Parent is the event whose handler emitted this one, if one did.
func Parent() (string, bool) {
	contextParent(area)
	return area.option()
}

// RetryAfter sets the shortest wait before the next attempt.
func RetryAfter(seconds uint32) { contextRetryAfter(seconds) }

// Get is the value of a key of the state, and false if there is none.
func Get(key string) (string, bool) {
	stateGet(at(key), size(key), area)
	return area.option()
}

// Set stores a value.
func Set(key, value string) error {
	stateSet(at(key), size(key), at(value), size(value), area)
	return area.failure(4)
}

// Add adds to an integer and returns the sum.
func Add(key string, delta int64) (int64, error) {
	stateAdd(at(key), size(key), delta, area)
	if err := area.failure(8); err != nil {
		return 0, err
	}
	return int64(area[1]), nil
}

// Expire makes a key expire; 0 removes its expiry.
func Expire(key string, seconds uint32) { stateExpire(at(key), size(key), seconds) }

// Remove removes a key.
func Remove(key string) { stateRemove(at(key), size(key)) }

// Keys are the keys that start with prefix and come after another one.
func Keys(prefix, after string, limit uint32) []string {
	stateKeys(at(prefix), size(prefix), at(after), size(after), limit, area)
	words := area.list(0, 2)
	keys := make([]string, len(words)/2)
	for i := range keys {
		keys[i] = text(words[2*i], words[2*i+1])
	}
	return keys
}

// Send sends a message to a destination and returns its id.
func Send(destination, contentType string, body []byte) (string, error) {
	outboxSend(at(destination), size(destination), at(contentType), size(contentType),
		unsafe.SliceData(body), uint32(len(body)), area)
	return area.textOrFailure()
}

// SendJSON sends a value as JSON to a destination and returns the id of the message.
func SendJSON(destination string, value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", Reject(err.Error())
	}
	outboxSendJSON(at(destination), size(destination), unsafe.SliceData(text), uint32(len(text)), area)
	return area.textOrFailure()
}

// Forward sends the body of the event to a destination, unchanged.
func Forward(destination string) (string, error) {
	outboxForward(at(destination), size(destination), area)
	return area.textOrFailure()
}

// Emit emits an event and returns its id.
func Emit(kind, contentType string, body []byte) (string, error) {
	outboxEmit(at(kind), size(kind), at(contentType), size(contentType),
		unsafe.SliceData(body), uint32(len(body)), area)
	return area.textOrFailure()
}

// EmitJSON emits an event with a value as JSON and returns its id.
func EmitJSON(kind string, value any) (string, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return "", Reject(err.Error())
	}
	outboxEmitJSON(at(kind), size(kind), unsafe.SliceData(text), uint32(len(text)), area)
	return area.textOrFailure()
}

// SetHeader adds a header to a message or event of this run.
func SetHeader(id, name, value string) error {
	outboxSetHeader(at(id), size(id), at(name), size(name), at(value), size(value), area)
	return area.failure(4)
}

// SetDelay delays a message or event of this run.
func SetDelay(id string, seconds uint32) error {
	outboxSetDelay(at(id), size(id), seconds, area)
	return area.failure(4)
}

// SetKey gives a message or event of this run a key.
func SetKey(id, key string) error {
	outboxSetKey(at(id), size(id), at(key), size(key), area)
	return area.failure(4)
}

// Cancel drops the queued message or event with this key.
func Cancel(key string) bool { return outboxCancel(at(key), size(key)) != 0 }

// CancelAhead also drops what gets this key within these seconds.
func CancelAhead(key string, seconds uint32) bool {
	return outboxCancelAhead(at(key), size(key), seconds) != 0
}

// Reply sets the answer to the sender.
func Reply(status uint16, contentType string, body []byte) error {
	replySet(uint32(status), at(contentType), size(contentType),
		unsafe.SliceData(body), uint32(len(body)), area)
	return area.failure(4)
}

// ReplyJSON sets status 200 and a value as JSON.
func ReplyJSON(value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return Reject(err.Error())
	}
	replySetJSON(unsafe.SliceData(text), uint32(len(text)), area)
	return area.failure(4)
}

// ReplyHeader adds a header to the reply.
func ReplyHeader(name, value string) error {
	replySetHeader(at(name), size(name), at(value), size(value), area)
	return area.failure(4)
}
