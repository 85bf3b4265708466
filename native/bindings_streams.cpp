// The part of the door to Python for streams. A step is so short that its arguments are looked at as NumPy's own
// structures; whatever is not just right is left to Python, which casts it or says what is wrong.

#include <nanobind/stl/shared_ptr.h>

#include "bindings.h"
#include "stream.h"

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

namespace elman {
namespace {

template <class T>
struct Program {
    std::vector<Layer<T>> layers;
    const KernelTable* table = g_table;

    // Of the tables, which streams share; packed weights belong to whoever packed them.
    std::int64_t bytes() const {
        std::size_t count = 0;
        for (const Layer<T>& layer : layers)
            if (layer.table) count += layer.table->size() * sizeof(T);
        return static_cast<std::int64_t>(count);
    }
    void take(const PackedWeights& weights, bool recurrent) {
        if (is_recurrent(weights) != recurrent) refuse("native kernels: packed weights of another layer");
        if (weights.table != table || weights.is_double != (sizeof(T) == 8))
            refuse("native kernels: packed weights of another type or instruction set");
    }
    void embed(Array<T> weight) {
        if (weight.ndim() != 2) refuse("native kernels: weight must have two axes");
        const std::int64_t V = static_cast<std::int64_t>(weight.shape(0)),
                           O = static_cast<std::int64_t>(weight.shape(1));
        check("weight", weight, {V, O});
        Layer<T> layer{Op::embed};
        layer.I = V;
        layer.O = O;
        layer.takes_ids = true;
        layer.table = std::make_shared<const std::vector<T>>(weight.data(), weight.data() + V * O);
        add(std::move(layer));
    }
    void recurrent(const PackedWeights& weights, bool takes_ids) {
        take(weights, true);
        Layer<T> layer{Op::recurrent};
        layer.cell = weights.packed->cell;
        layer.I = weights.packed->I;
        layer.O = weights.packed->H;
        layer.takes_ids = takes_ids;
        layer.packed = weights.packed;
        add(std::move(layer));
    }
    void linear(const PackedWeights& weights, int activation) {
        take(weights, false);
        if (activation < -1 || activation > 2) refuse("native kernels: no such activation");
        Layer<T> layer{Op::dense};
        layer.I = weights.packed->I;
        layer.O = weights.packed->H;
        layer.activation = activation;
        layer.packed = weights.packed;
        add(std::move(layer));
    }
    void add_output_of(int source) {
        if (layers.empty() || source < -1 || source + 1 >= static_cast<int>(layers.size()))
            refuse("native kernels: nothing to add there");
        Layer<T> layer{Op::add_to};
        layer.source = source;
        layer.I = layer.O = layers.back().O;
        const Layer<T>& from = layers[source < 0 ? 0 : static_cast<std::size_t>(source)];
        if ((source < 0 && from.takes_ids) || (source < 0 ? from.I : from.O) != layer.O)
            refuse("native kernels: a short cut needs outputs of the same size");
        add(std::move(layer));
    }
    void add(Layer<T> layer) {
        if (layer.takes_ids ? !layers.empty() : !layers.empty() && layers.back().O != layer.I)
            refuse("native kernels: layers do not fit together");
        layers.push_back(std::move(layer));
    }
};

template <class T>
class BoundStream {
   public:
    // rows: how many (B,), or -1 for one row that goes without an axis of its own.
    BoundStream(const Program<T>& program, std::int64_t rows)
        : layers_(std::make_shared<const std::vector<Layer<T>>>(program.layers)),
          stream_(of<T>(program.table), layers_, rows < 0 ? 1 : rows),
          is_single_(rows < 0) {
        if (layers_->empty() || rows == 0 || rows < -1) refuse("native kernels: a stream needs a layer and a row");
    }

    // The next step x -> out, which is made where it is None; returns it. None where x or out does not fit as it is:
    // then nothing was done.
    nb::object step(nb::handle x, nb::handle out) {
        const Layer<T>&first = layers_->front(), &last = layers_->back();
        const T* features = nullptr;
        const std::int64_t* ids = nullptr;
        std::int64_t id = -1;
        if (!first.takes_ids) {
            features = static_cast<const T*>(data_of(x, kType, first.I, false));
        } else if (is_single_) {
            int overflow = 0;
            if (PyLong_CheckExact(x.ptr()))
                id = PyLong_AsLongLongAndOverflow(x.ptr(), &overflow);  // -1 where it overflows
            else if (PyArray_IsScalar(x.ptr(), Int64))
                id = PyArrayScalar_VAL(x.ptr(), Int64);
            if (0 <= id && id < first.I) ids = &id;
        } else if ((ids = static_cast<const std::int64_t*>(data_of(x, NPY_INT64, 0, false)))) {
            for (std::int64_t b = 0; ids && b < stream_.batch(); ++b)
                if (ids[b] < 0 || ids[b] >= first.I) ids = nullptr;
        }
        if (!features && !ids) return nb::none();
        nb::object y = out.is_none() ? empty(last.O) : nb::borrow(out);
        T* const to = static_cast<T*>(data_of(y, kType, last.O, true));
        if (!to) return nb::none();
        if (stream_.work() < 1e5) {  // shorter than handing over the lock
            stream_.step(features, ids, to);
        } else {
            nb::gil_scoped_release released;
            stream_.step(features, ids, to);
        }
        return y;
    }

    // The states of a layer, as views of the stream's own memory, each (B, H).
    nb::list states(nb::handle self, std::size_t layer) {
        nb::list found;
        for (std::vector<T>* part : {&stream_.h(layer), &stream_.c(layer)}) {
            if (part->empty()) continue;
            const std::size_t B = static_cast<std::size_t>(stream_.batch());
            found.append(nb::ndarray<nb::numpy, T>(part->data(), {B, part->size() / B}, self).cast());
        }
        return found;
    }
    std::int64_t bytes() const { return stream_.bytes(); }

   private:
    static constexpr int kType = sizeof(T) == 4 ? NPY_FLOAT32 : NPY_FLOAT64;

    // The numbers of an array of just this type and shape, contiguous and in place: (F,) of a single row, (B, F), or
    // (B,) where F is 0. Null for anything else.
    void* data_of(nb::handle object, int type, std::int64_t F, bool writable) const {
        if (!PyArray_CheckExact(object.ptr())) return nullptr;
        auto* const array = reinterpret_cast<PyArrayObject*>(object.ptr());
        if (PyArray_TYPE(array) != type || !PyArray_ISNOTSWAPPED(array)) return nullptr;
        if (writable ? !PyArray_ISCARRAY(array) : !PyArray_ISCARRAY_RO(array)) return nullptr;
        const npy_intp* shape = PyArray_DIMS(array);
        const int axes = (is_single_ ? 0 : 1) + (F ? 1 : 0);
        if (PyArray_NDIM(array) != axes) return nullptr;
        if (!is_single_ && *shape++ != stream_.batch()) return nullptr;
        if (F && *shape != F) return nullptr;
        return PyArray_DATA(array);
    }

    nb::object empty(std::int64_t F) const {
        npy_intp shape[] = {stream_.batch(), F};
        PyObject* made = PyArray_SimpleNew(is_single_ ? 1 : 2, is_single_ ? shape + 1 : shape, kType);
        if (!made) nb::raise_python_error();
        return nb::steal(made);
    }

    std::shared_ptr<const std::vector<Layer<T>>> layers_;
    Stream<T> stream_;
    bool is_single_;
};

template <class T>
void bind(nb::module_& m, const char* program, const char* stream) {
    nb::class_<Program<T>>(m, program)
        .def(nb::init<>())
        .def("embed", &Program<T>::embed)
        .def("recurrent", &Program<T>::recurrent)
        .def("linear", &Program<T>::linear)
        .def("add_output_of", &Program<T>::add_output_of)
        .def_prop_ro("nbytes", &Program<T>::bytes);
    nb::class_<BoundStream<T>>(m, stream)
        .def(nb::init<const Program<T>&, std::int64_t>())
        .def("step", &BoundStream<T>::step, "x"_a.none(), "out"_a.none())
        .def("states",
             [](nb::handle self, std::size_t layer) { return nb::cast<BoundStream<T>&>(self).states(self, layer); })
        .def_prop_ro("nbytes", &BoundStream<T>::bytes);
}

}  // namespace

void bind_streams(nb::module_& m) {
    if (PyArray_ImportNumPyAPI() < 0) nb::raise_python_error();
    bind<float>(m, "Program32", "Stream32");
    bind<double>(m, "Program64", "Stream64");
}

}  // namespace elman
