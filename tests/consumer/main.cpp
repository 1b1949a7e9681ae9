// A C++ program of somebody else's. fourbit.hpp is in two of its translation units (see other.cpp).
#include <fourbit/fourbit.hpp>

#include <iostream>
#include <vector>

double squared_error(const fourbit::context& on, const std::vector<float>& source);

int main() {
    try {
        const fourbit::context on;
        std::vector<float> source(4096);
        for (std::size_t i = 0; i < source.size(); ++i) {
            source[i] = static_cast<float>(i % 101) / 50.0F - 1.0F;
        }
        const fourbit::weight weight = fourbit::quantize(fourbit::quantizer(on), source);
        const fourbit_quant_error error = fourbit::measure(on, source, weight);
        const double expected = squared_error(on, source);
        const double found = error.rms_error * error.rms_error * static_cast<double>(source.size());
        std::cout << fourbit::build_info() << ": squared error " << found << "\n";
        return expected > 0 && found > 0.999 * expected && found < 1.001 * expected ? 0 : 1;
    } catch (const fourbit::error& e) {
        std::cerr << e.what() << "\n";
        return 1;
    }
}
