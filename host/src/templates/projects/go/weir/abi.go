//go:build wasip1

// The canonical ABI of components: the imported and exported functions, and the places of results
// in memory. An instance handles one event, so that nothing needs to be freed.
package weir

import "unsafe"

// results is where a host function puts what it returns. One is enough: it is read before the next
// call.
type results [4]uint64

var area = new(results)

func at(text string) *byte    { return unsafe.StringData(text) }
func size(text string) uint32 { return uint32(len(text)) }

// text is the text at an address of the 32-bit memory.
func text(address, length uint32) string {
	return unsafe.String((*byte)(unsafe.Pointer(uintptr(address))), length)
}

func (from *results) word(offset uintptr) uint32 {
	return *(*uint32)(unsafe.Add(unsafe.Pointer(from), offset))
}

func (from *results) flag(offset uintptr) uint8 {
	return *(*uint8)(unsafe.Add(unsafe.Pointer(from), offset))
}

func (from *results) text(offset uintptr) string {
	return text(from.word(offset), from.word(offset+4))
}

// list are the words of a list whose items have this many.
func (from *results) list(offset uintptr, words uint32) []uint32 {
	first := (*uint32)(unsafe.Pointer(uintptr(from.word(offset))))
	return unsafe.Slice(first, from.word(offset+4)*words)
}

func (from *results) option() (string, bool) {
	if from.flag(0) == 0 {
		return "", false
	}
	return from.text(4), true
}

func (from *results) textOrFailure() (string, error) {
	if err := from.failure(4); err != nil {
		return "", err
	}
	return from.text(4), nil
}

// failure is the error of a result, whose payload begins at an offset.
func (from *results) failure(offset uintptr) error {
	if from.flag(0) == 0 {
		return nil
	}
	switch from.flag(offset) {
	case 0:
		return Retry(from.text(offset + 4))
	case 1:
		return Reject(from.text(offset + 4))
	default:
		return Refusal{Code: RefusalCode(from.flag(offset + 4)), Message: from.text(offset + 8)}
	}
}

// end is what `handle` returns: a result without a value, or a failure.
var end = new(struct {
	failed uint8
	_      [3]uint8
	tag    uint8
	_      [3]uint8
	words  [3]uint32
})

// kept holds what the host reads after `handle` has returned, and what it has allocated.
var kept [][]byte

//go:wasmexport describe
func exportDescribe() { describe() }

//go:wasmexport handle
func exportHandle(
	id, idSize, source, sourceSize, kind, kindSize uint32,
	hasCategory, category, categorySize, hasDelivery, delivery, deliverySize uint32,
	receivedAt uint64, contentType, contentTypeSize uint32,
) unsafe.Pointer {
	event := Event{
		ID:          text(id, idSize),
		Source:      text(source, sourceSize),
		Type:        text(kind, kindSize),
		ReceivedAt:  receivedAt,
		ContentType: text(contentType, contentTypeSize),
	}
	if hasCategory != 0 {
		event.Category = text(category, categorySize)
	}
	if hasDelivery != 0 {
		event.DeliveryID = text(delivery, deliverySize)
	}
	switch err := handle(event).(type) {
	case nil:
	case Refusal:
		end.failed, end.tag = 1, 2
		end.words[0] = uint32(err.Code)
		end.words[1], end.words[2] = keep(err.Message)
	case failure:
		end.failed = 1
		if err.reject {
			end.tag = 1
		}
		end.words[0], end.words[1] = keep(err.reason)
	default:
		end.failed = 1
		end.words[0], end.words[1] = keep(err.Error())
	}
	return unsafe.Pointer(end)
}

// keep copies a text to where the host can read it.
func keep(text string) (address, length uint32) {
	bytes := append([]byte(text), 0)
	kept = append(kept, bytes)
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(bytes)))), uint32(len(text))
}

// early is what is given out before Go's runtime has started: the adapter of WASI asks for its own
// memory then, and nothing of the runtime may be used.
var (
	early     [256 << 10]byte
	earlyUsed uintptr
	started   bool
)

func init() { started = true }

//go:linkname procPin runtime.procPin
func procPin() int

//go:linkname procUnpin runtime.procUnpin
func procUnpin()

// exportRealloc gives the host memory for what it returns. It never grows what it gave out, and it
// may call no host function: a pinned goroutine starts no garbage collection, which reads clocks.
//
//go:wasmexport cabi_realloc
func exportRealloc(old, oldSize, align, newSize uint32) unsafe.Pointer {
	if !started {
		from := (earlyUsed + 15) &^ 15
		earlyUsed = from + uintptr(newSize)
		return unsafe.Pointer(&early[from])
	}
	procPin()
	// Words of 64 bits, so that the start fits every alignment.
	words := make([]uint64, newSize/8+1)
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), newSize+1)
	kept = append(kept, bytes)
	procUnpin()
	return unsafe.Pointer(unsafe.SliceData(bytes))
}

//go:wasmimport weir:handler/manifest@%contract% about
func manifestAbout(text *byte, size uint32)

//go:wasmimport weir:handler/manifest@%contract% subscribe
func manifestSubscribe(text *byte, size uint32)

//go:wasmimport weir:handler/manifest@%contract% state-version
func manifestStateVersion(version uint32)

//go:wasmimport weir:handler/manifest@%contract% needs-destination
func manifestNeedsDestination(name *byte, size uint32)

//go:wasmimport weir:handler/request@%contract% text
func requestText(into *results)

//go:wasmimport weir:handler/request@%contract% bytes
func requestBytes(into *results)

//go:wasmimport weir:handler/request@%contract% header
func requestHeader(name *byte, size uint32, into *results)

//go:wasmimport weir:handler/request@%contract% headers
func requestHeaders(into *results)

//go:wasmimport weir:handler/request@%contract% method
func requestMethod(into *results)

//go:wasmimport weir:handler/request@%contract% query
func requestQuery(into *results)

//go:wasmimport weir:handler/request@%contract% path-rest
func requestPathRest(into *results)

//go:wasmimport weir:handler/log@%contract% debug
func logDebug(text *byte, size uint32)

//go:wasmimport weir:handler/log@%contract% info
func logInfo(text *byte, size uint32)

//go:wasmimport weir:handler/log@%contract% warn
func logWarn(text *byte, size uint32)

//go:wasmimport weir:handler/log@%contract% error
func logError(text *byte, size uint32)

//go:wasmimport weir:handler/config@%contract% get
func configGet(key *byte, size uint32, into *results)

//go:wasmimport weir:handler/context@%contract% attempt
func contextAttempt() uint32

//go:wasmimport weir:handler/context@%contract% now
func contextNow() uint64

//go:wasmimport weir:handler/context@%contract% random
func contextRandom(length uint32, into *results)

//go:wasmimport weir:handler/context@%contract% parent
func contextParent(into *results)

//go:wasmimport weir:handler/context@%contract% retry-after
func contextRetryAfter(seconds uint32)

//go:wasmimport weir:handler/state@%contract% get
func stateGet(key *byte, size uint32, into *results)

//go:wasmimport weir:handler/state@%contract% set
func stateSet(key *byte, keySize uint32, value *byte, valueSize uint32, into *results)

//go:wasmimport weir:handler/state@%contract% add
func stateAdd(key *byte, size uint32, delta int64, into *results)

//go:wasmimport weir:handler/state@%contract% expire
func stateExpire(key *byte, size uint32, seconds uint32)

//go:wasmimport weir:handler/state@%contract% remove
func stateRemove(key *byte, size uint32)

//go:wasmimport weir:handler/state@%contract% keys
func stateKeys(prefix *byte, prefixSize uint32, after *byte, afterSize uint32, limit uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% send
func outboxSend(name *byte, nameSize uint32, contentType *byte, typeSize uint32, body *byte, bodySize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% send-json
func outboxSendJSON(name *byte, nameSize uint32, json *byte, jsonSize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% forward
func outboxForward(name *byte, nameSize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% emit
func outboxEmit(name *byte, nameSize uint32, contentType *byte, typeSize uint32, body *byte, bodySize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% emit-json
func outboxEmitJSON(name *byte, nameSize uint32, json *byte, jsonSize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% set-header
func outboxSetHeader(id *byte, idSize uint32, name *byte, nameSize uint32, value *byte, valueSize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% set-delay
func outboxSetDelay(id *byte, idSize uint32, seconds uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% set-key
func outboxSetKey(id *byte, idSize uint32, key *byte, keySize uint32, into *results)

//go:wasmimport weir:handler/outbox@%contract% cancel
func outboxCancel(key *byte, size uint32) uint32

//go:wasmimport weir:handler/outbox@%contract% cancel-ahead
func outboxCancelAhead(key *byte, size uint32, seconds uint32) uint32

//go:wasmimport weir:handler/reply@%contract% set
func replySet(status uint32, contentType *byte, typeSize uint32, body *byte, bodySize uint32, into *results)

//go:wasmimport weir:handler/reply@%contract% set-json
func replySetJSON(json *byte, jsonSize uint32, into *results)

//go:wasmimport weir:handler/reply@%contract% set-header
func replySetHeader(name *byte, nameSize uint32, value *byte, valueSize uint32, into *results)
